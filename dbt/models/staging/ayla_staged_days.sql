-- Generated from airflow-provider-ayla by `python -m ayla_provider.models.dbt dbt`. Don't change it here.
with recursive each_day as (
  select min(day) as day, max(day) as last_day
  from (
    select min(day) as day
    from {{ ref('ayla_staged_activity') }}
    union all
    select max(day) as day
    from {{ ref('ayla_staged_activity') }}
    union all
    select max({{ ayla.ayla_local_day(ayla.ayla_moment("ends - 1")) }}) as day
    from {{ ref('ayla_staged_runs') }}
  ) as bounds
  union all
  select {{ ayla.ayla_next_day("day") }}, last_day
  from each_day
  where day < last_day
) select day, {{ ayla.ayla_micros(ayla.ayla_day_start("day")) }} as starts, {{ ayla.ayla_micros(ayla.ayla_day_start(ayla.ayla_next_day("day"))) }} as ends
from each_day
where day is not null
