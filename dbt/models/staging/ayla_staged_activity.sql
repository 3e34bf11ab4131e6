-- Generated from airflow-provider-ayla by `python -m ayla_provider.models.dbt dbt`. Don't change it here.
select dsn, day, oem_id, oem_model, min(happened) as first_at, max(happened) as last_at, max(heard) as heard_at, sum(datapoints) as datapoints, sum(discarded) as discarded, sum(registered) as registered, sum(unregistered) as unregistered
from (
  select dsn, day, oem_id, oem_model, happened, case when direction = 'output' or echo then happened end as heard, 1 as datapoints, case when discarded then 1 else 0 end as discarded, 0 as registered, 0 as unregistered
  from {{ ref('ayla_staged_datapoints') }}
  union all
  select dsn, day, oem_id, oem_model, happened, happened as heard, 0 as datapoints, 0 as discarded, 0 as registered, 0 as unregistered
  from {{ ref('ayla_staged_acks') }}
  union all
  select dsn, day, oem_id, oem_model, happened, case when state = 'online' then happened end as heard, 0 as datapoints, 0 as discarded, 0 as registered, 0 as unregistered
  from {{ ref('ayla_staged_connections') }}
  union all
  select dsn, day, oem_id, oem_model, happened, cast(null as {{ ayla.ayla_type("integer") }}) as heard, 0 as datapoints, 0 as discarded, case when registered then 1 else 0 end as registered, case when registered then 0 else 1 end as unregistered
  from {{ ref('ayla_staged_registrations') }}
  union all
  select t.dsn, {{ ayla.ayla_local_day(ayla.ayla_moment(ayla.ayla_micros("t.created_at"))) }} as day, t.oem_id, t.oem_model, {{ ayla.ayla_micros("t.created_at") }} as happened, cast(null as {{ ayla.ayla_type("integer") }}) as heard, 0 as datapoints, 0 as discarded, 0 as registered, 0 as unregistered
  from {{ source('ayla', 'location') }} as t
  where t.dsn is not null and t.created_at is not null and (t.created_at is null or ({{ ayla.ayla_micros("t.created_at") }} - {{ ayla.ayla_micros("t.folder_hour") }} >= -31622400000000 and {{ ayla.ayla_micros("t.created_at") }} - {{ ayla.ayla_micros("t.folder_hour") }} < 90000000000))
) as events
group by dsn, day, oem_id, oem_model
