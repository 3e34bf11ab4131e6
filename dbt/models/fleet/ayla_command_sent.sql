-- Generated from airflow-provider-ayla by `python -m ayla_provider.models.dbt dbt`. Don't change it here.
select sent.dsn, sent.time_uuid, sent.oem_model, sent.property_name, sent.base_type, sent.user_uuid, {{ ayla.ayla_moment("sent.commanded_at") }} as commanded_at, sent.value, sent.value_text, sent.ack_id, {{ ayla.ayla_moment("sent.acked_at") }} as acked_at, case when sent.acked_by is not null then cast(case when sent.acked_at > sent.commanded_at then sent.acked_at - sent.commanded_at else 0 end as {{ ayla.ayla_type("number") }}) / 1000000 end as latency_seconds, sent.ack_status, sent.ack_message, case when sent.acked_by is not null and sent.ack_status between 200 and 299 then 'acknowledged' when sent.acked_by is not null then 'refused' when runs.ends is not null and runs.ends >= ({{ ayla.ayla_quotient("sent.commanded_at", "3600000000") }}) * 3600000000 + 7200000000 then 'unanswered' else 'unknown' end as outcome
from (
  select sent.dsn, sent.time_uuid, sent.oem_model, sent.property_name, sent.base_type, sent.user_uuid, sent.value, sent.value_text, sent.happened as commanded_at, acks.ack_id, acks.happened as acked_at, acks.ack_status, acks.ack_message, acks.dsn as acked_by
  from {{ ref('ayla_staged_datapoints') }} as sent
  left
  join {{ ref('ayla_staged_acks') }} as acks on sent.dsn = acks.dsn and sent.time_uuid = acks.time_uuid
  where sent.direction = 'input' and not coalesce(sent.echo, false) and not coalesce(sent.discarded, false) and sent.property_name is not null and sent.time_uuid is not null
  union all
  select acks.dsn, acks.time_uuid, acks.oem_model, acks.property_name, acks.base_type, acks.user_uuid, acks.value, acks.value_text, acks.sent_at, acks.ack_id, acks.happened as acked_at, acks.ack_status, acks.ack_message, acks.dsn as acked_by
  from {{ ref('ayla_staged_acks') }} as acks
  left
  join {{ ref('ayla_staged_datapoints') }} as sent on sent.dsn = acks.dsn and sent.time_uuid = acks.time_uuid
  where sent.dsn is null and acks.sent_at is not null and acks.time_uuid is not null
) as sent
left
join {{ ref('ayla_staged_runs') }} as runs on runs.event_type = 'datapoint_ack' and sent.commanded_at >= runs.starts and sent.commanded_at < runs.ends
