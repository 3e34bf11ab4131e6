-- Generated from airflow-provider-ayla by `python -m ayla_provider.models.dbt dbt`. Don't change it here.
select dsn, happened, state, ends, carried, state_before, state_since, lag(state_since) over (partition by dsn order by happened, carried desc) as since_before
from (
  select *, max(begun) over (partition by dsn, stretch) as state_since
  from (
    select *, count(begun) over (partition by dsn order by happened, carried desc rows unbounded preceding) as stretch
    from (
      select *, case when carried = 1 or state_before is null or state_before <> state then since end as begun
      from (
        select *, case when carried = 1 then null when lag(ends) over (partition by dsn order by happened, carried desc) = happened or lag(carried) over (partition by dsn order by happened, carried desc) = 1 and lag(happened) over (partition by dsn order by happened, carried desc) = happened then lag(state) over (partition by dsn order by happened, carried desc) end as state_before
        from (
          select nexts.*, case when runs.ends is null then nexts.happened when nexts.next_at is null or nexts.next_at > runs.ends then runs.ends else nexts.next_at end as ends
          from (
            select *, lead(happened) over (partition by dsn order by happened, carried desc) as next_at
            from (
              select dsn, happened, state, happened as since, 0 as carried
              from (
                select dsn, happened, count(distinct state) as states, max(state) as state
                from {{ ref('ayla_staged_connections') }}
                where state in ('online', 'offline')
                group by dsn, happened
              ) as seconds
              where states = 1
            ) as events
          ) as nexts
          left
          join {{ ref('ayla_staged_runs') }} as runs on runs.event_type = 'connection' and nexts.happened >= runs.starts and nexts.happened < runs.ends
        ) as ends
      ) as befores
    ) as begins
  ) as stretches
) as whole
