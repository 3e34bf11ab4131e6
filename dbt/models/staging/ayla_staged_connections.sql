-- Generated from airflow-provider-ayla by `python -m ayla_provider.models.dbt dbt`. Don't change it here.
select distinct oem_id, oem_model, dsn, state, happened, {{ ayla.ayla_local_day(ayla.ayla_moment("happened")) }} as day
from (
  select t.oem_id as oem_id, t.oem_model as oem_model, t.dsn as dsn, lower(t.status) as state, ({{ ayla.ayla_quotient(ayla.ayla_micros("t.event_time"), "1000000") }}) * 1000000 as happened
  from {{ source('ayla', 'connection') }} as t
  where t.dsn is not null and t.event_time is not null and (t.event_time is null or ({{ ayla.ayla_micros("t.event_time") }} - {{ ayla.ayla_micros("t.folder_hour") }} >= -31622400000000 and {{ ayla.ayla_micros("t.event_time") }} - {{ ayla.ayla_micros("t.folder_hour") }} < 90000000000))
) as raw
where true
