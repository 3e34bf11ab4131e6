-- Generated from airflow-provider-ayla by `python -m ayla_provider.models.dbt dbt`. Don't change it here.
select distinct t.oem_model as oem_model, t.property_name as property_name
from {{ source('ayla', 'datapoint_ack') }} as t
where t.dsn is not null and coalesce(t.acked_at, t.created_at) is not null
