-- Generated from airflow-provider-ayla by `python -m ayla_provider.models.dbt dbt`. Don't change it here.
select dsn, property_name, day, value, value_text, cast(sum(lasts) as {{ ayla.ayla_type("number") }}) / 1000000 as seconds, cast(sum(entries) as {{ ayla.ayla_type("integer") }}) as entries
from (
  select v.dsn, v.property_name, v.value, v.value_text, days.day, case when v.ends < days.ends then v.ends else days.ends end - v.happened as lasts, case when v.is_change then 1 else 0 end as entries
  from {{ ref('ayla_staged_values') }} as v
  join {{ ref('ayla_staged_days') }} as days on days.day = v.day
  where v.base_type in ('boolean', 'integer', 'string')
  union all
  select v.dsn, v.property_name, v.value, v.value_text, days.day, case when v.ends < days.ends then v.ends else days.ends end - days.starts, 0
  from {{ ref('ayla_staged_values') }} as v
  join {{ ref('ayla_staged_days') }} as days on days.starts > v.happened and days.starts < v.ends
  where v.base_type in ('boolean', 'integer', 'string')
) as pieces
group by dsn, property_name, day, value, value_text
having sum(lasts) > 0 or sum(entries) > 0
