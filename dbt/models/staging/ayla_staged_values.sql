-- Generated from airflow-provider-ayla by `python -m ayla_provider.models.dbt dbt`. Don't change it here.
select *, case when next_at is null and run_ends = horizon then 1 else 0 end as is_open, case when carried = 1 then was_change else ends_before is null or ends_before <> happened or value is distinct
from value_before or value_text is distinct
from text_before end as is_change
from (
  select *, case when run_ends is null then happened when next_at is null or next_at > run_ends then run_ends else next_at end as ends, case when at_before is null or run_ends_before is null then at_before when happened > run_ends_before then run_ends_before else happened end as ends_before, ({{ ayla.ayla_quotient("happened", "3600000000") }}) * 3600000000 as hour, {{ ayla.ayla_local_day(ayla.ayla_moment("happened")) }} as day
  from (
    select *, lead(happened) over (partition by dsn, property_name order by happened, time_uuid) as next_at, lag(happened) over (partition by dsn, property_name order by happened, time_uuid) as at_before, lag(run_ends) over (partition by dsn, property_name order by happened, time_uuid) as run_ends_before, lag(value) over (partition by dsn, property_name order by happened, time_uuid) as value_before, lag(value_text) over (partition by dsn, property_name order by happened, time_uuid) as text_before
    from (
      select every_value.*, runs.horizon, runs.ends as run_ends
      from (
        select dsn, property_name, time_uuid, value, value_text, base_type, direction, oem_model, echo, happened, 0 as carried, cast(null as {{ ayla.ayla_type("boolean") }}) as was_change
        from {{ ref('ayla_staged_datapoints') }}
        where is_value = 1
      ) as every_value
      left
      join {{ ref('ayla_staged_runs') }} as runs on runs.event_type = 'datapoint' and every_value.happened >= runs.starts and every_value.happened < runs.ends
    ) as timed
  ) as ordered
) as ends
