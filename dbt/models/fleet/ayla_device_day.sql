-- Generated from airflow-provider-ayla by `python -m ayla_provider.models.dbt dbt`. Don't change it here.
select frame.dsn, frame.day, models.oem_model, owner.user_uuid, cast({{ ayla.ayla_quotient("frame.ends - frame.starts", "1000000") }} as {{ ayla.ayla_type("integer") }}) as day_seconds, cast({{ ayla.ayla_quotient("coalesce(lasted.online, 0)", "1000000") }} as {{ ayla.ayla_type("integer") }}) as online_seconds, cast({{ ayla.ayla_quotient("coalesce(lasted.offline, 0)", "1000000") }} as {{ ayla.ayla_type("integer") }}) as offline_seconds, cast({{ ayla.ayla_quotient("(frame.ends - frame.starts) - coalesce(lasted.online, 0) - coalesce(lasted.offline, 0)", "1000000") }} as {{ ayla.ayla_type("integer") }}) as unknown_seconds, cast(coalesce(begun.sessions, 0) as {{ ayla.ayla_type("integer") }}) as sessions, cast(coalesce(begun.flaps, 0) + coalesce(messages.flap_seconds, 0) as {{ ayla.ayla_type("integer") }}) as flaps, cast(coalesce(messages.messages, 0) as {{ ayla.ayla_type("integer") }}) as connection_events, case when coalesce(lasted.online, 0) + coalesce(lasted.offline, 0) > 0 then cast(coalesce(lasted.online, 0) as {{ ayla.ayla_type("number") }}) / (coalesce(lasted.online, 0) + coalesce(lasted.offline, 0)) end as uptime_share, cast((frame.ends - frame.starts) - coalesce(lasted.online, 0) - coalesce(lasted.offline, 0) as {{ ayla.ayla_type("number") }}) / (frame.ends - frame.starts) as unknown_share, coalesce(lasted.state_at_end, 'unknown') as state_at_end, {{ ayla.ayla_moment("lasted.state_since") }} as state_since
from (
  select firsts.dsn, days.day, days.starts, days.ends
  from (
    select dsn, min(day) as first_day
    from {{ ref('ayla_staged_activity') }}
    group by dsn
  ) as firsts
  join {{ ref('ayla_staged_days') }} as days on days.day >= firsts.first_day and days.starts <= (
    select max(horizon) - 1
    from {{ ref('ayla_staged_runs') }}
    where event_type = 'connection'
  )
) as frame
left
join (
  select dsn, day, max(oem_model) over (partition by dsn, stretch) as oem_model
  from (
    select *, count(oem_model) over (partition by dsn order by day rows unbounded preceding) as stretch
    from (
      select dsn, day, max(oem_model) as oem_model
      from (
        select dsn, day, oem_model
        from (
          select dsn, day, oem_model
          from (
            select dsn, day, oem_model, row_number() over (partition by dsn, day order by last_at desc, oem_model desc) as standing
            from {{ ref('ayla_staged_activity') }}
            where oem_model is not null
          ) as ranked
          where standing = 1
        ) as seen
        union all
        select dsn, day, cast(null as {{ ayla.ayla_type("text") }})
        from (
          select firsts.dsn, days.day, days.starts, days.ends
          from (
            select dsn, min(day) as first_day
            from {{ ref('ayla_staged_activity') }}
            group by dsn
          ) as firsts
          join {{ ref('ayla_staged_days') }} as days on days.day >= firsts.first_day and days.starts <= (
            select max(horizon) - 1
            from {{ ref('ayla_staged_runs') }}
            where event_type = 'connection'
          )
        ) as frame
      ) as either
      group by dsn, day
    ) as daily
  ) as stretches
) as models on models.dsn = frame.dsn and models.day = frame.day
left
join (
  select t.dsn, days.day, t.user_uuid
  from {{ ref('ayla_device_owner') }} as t
  join {{ ref('ayla_staged_days') }} as days on {{ ayla.ayla_micros("t.owned_from") }} < days.ends and (t.owned_to is null or {{ ayla.ayla_micros("t.owned_to") }} >= days.ends)
) as owner on owner.dsn = frame.dsn and owner.day = frame.day
left
join (
  select spans.dsn, days.day, sum(case when spans.state = 'online' then case when spans.ends < days.ends then spans.ends else days.ends end - case when spans.happened > days.starts then spans.happened else days.starts end else 0 end) as online, sum(case when spans.state = 'offline' then case when spans.ends < days.ends then spans.ends else days.ends end - case when spans.happened > days.starts then spans.happened else days.starts end else 0 end) as offline, max(case when spans.ends >= days.ends then spans.state end) as state_at_end, max(case when spans.ends >= days.ends then spans.state_since end) as state_since
  from {{ ref('ayla_staged_connection_spans') }} as spans
  join {{ ref('ayla_staged_days') }} as days on spans.happened < days.ends and spans.ends > days.starts
  group by spans.dsn, days.day
) as lasted on lasted.dsn = frame.dsn and lasted.day = frame.day
left
join (
  select dsn, {{ ayla.ayla_local_day(ayla.ayla_moment("happened")) }} as day, count(*) as sessions, sum(case when state_before = 'offline' and happened - since_before < 60000000 then 1 else 0 end) as flaps
  from {{ ref('ayla_staged_connection_spans') }}
  where state = 'online' and carried = 0 and (state_before is null or state_before = 'offline')
  group by dsn, {{ ayla.ayla_local_day(ayla.ayla_moment("happened")) }}
) as begun on begun.dsn = frame.dsn and begun.day = frame.day
left
join (
  select dsn, day, sum(states) as messages, sum(case when states = 2 then 1 else 0 end) as flap_seconds
  from (
    select dsn, day, happened, count(distinct state) as states
    from {{ ref('ayla_staged_connections') }}
    where state in ('online', 'offline')
    group by dsn, day, happened
  ) as seconds
  group by dsn, day
) as messages on messages.dsn = frame.dsn and messages.day = frame.day
