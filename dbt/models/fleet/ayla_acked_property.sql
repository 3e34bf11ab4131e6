-- Generated from airflow-provider-ayla by `python -m ayla_provider.models.dbt dbt`. Don't change it here.
select distinct oem_model, property_name
from (
  select distinct t.folder_hour as folder_hour, t.oem_model as oem_model, t.property_name as property_name
  from {{ source('ayla', 'datapoint_ack') }} as t
  where t.dsn is not null and coalesce(t.acked_at, t.created_at) is not null and (t.created_at is null or ({{ ayla.ayla_micros("t.created_at") }} - {{ ayla.ayla_micros("t.folder_hour") }} >= -31622400000000 and {{ ayla.ayla_micros("t.created_at") }} - {{ ayla.ayla_micros("t.folder_hour") }} < 90000000000)) and (t.acked_at is null or ({{ ayla.ayla_micros("t.acked_at") }} - {{ ayla.ayla_micros("t.folder_hour") }} >= -31622400000000 and {{ ayla.ayla_micros("t.acked_at") }} - {{ ayla.ayla_micros("t.folder_hour") }} < 90000000000))
) as acked
