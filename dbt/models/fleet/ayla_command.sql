-- Generated from airflow-provider-ayla by `python -m ayla_provider.models.dbt dbt`. Don't change it here.
select sent.dsn, sent.time_uuid, sent.oem_model, sent.property_name, sent.base_type, sent.user_uuid, sent.commanded_at, sent.value, sent.value_text, sent.ack_id, sent.acked_at, sent.latency_seconds, sent.ack_status, sent.ack_message, sent.outcome
from {{ ref('ayla_command_sent') }} as sent
where exists (
  select 1
  from {{ ref('ayla_acked_property') }} as acked
  where acked.oem_model is not distinct
  from sent.oem_model and acked.property_name is not distinct
  from sent.property_name
)
