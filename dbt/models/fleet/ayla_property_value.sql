-- Generated from airflow-provider-ayla by `python -m ayla_provider.models.dbt dbt`. Don't change it here.
select dsn, property_name, time_uuid, {{ ayla.ayla_moment("happened") }} as valid_from, {{ ayla.ayla_moment("case when is_open = 0 then ends end") }} as valid_to, value, value_text, base_type, direction, oem_model, echo, is_change
from {{ ref('ayla_staged_values') }}
