-- Generated from airflow-provider-ayla by `python -m ayla_provider.models.dbt dbt`. Don't change it here.
select dsn, day, oem_id, oem_model, {{ ayla.ayla_moment("first_at") }} as first_at, {{ ayla.ayla_moment("last_at") }} as last_at, {{ ayla.ayla_moment("heard_at") }} as heard_at, cast(datapoints as {{ ayla.ayla_type("integer") }}) as datapoints, cast(discarded as {{ ayla.ayla_type("integer") }}) as discarded, cast(registered as {{ ayla.ayla_type("integer") }}) as registered, cast(unregistered as {{ ayla.ayla_type("integer") }}) as unregistered
from {{ ref('ayla_staged_activity') }}
