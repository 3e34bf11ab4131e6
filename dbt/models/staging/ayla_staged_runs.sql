-- Generated from airflow-provider-ayla by `python -m ayla_provider.models.dbt dbt`. Don't change it here.
select *, max(ends) over (partition by event_type) as horizon
from (
  select event_type, min(starts) as starts, max(starts) + 3600000000 as ends
  from (
    select event_type, starts, starts - row_number() over (partition by event_type order by starts) * 3600000000 as island
    from (
      select event_type, {{ ayla.ayla_micros("folder_hour") }} as starts
      from (
        select loads.event_type as event_type, loads.folder_hour as folder_hour, loads.version || '|' || cast(loads.{{ ayla.ayla_name('rows') }} as {{ ayla.ayla_type("text") }}) as signature, case when loads.version <> 'removed' and coalesce(hours.state, 'landed') in ('landed', 'empty') then 1 else 0 end as known
        from {{ source('ayla', 'loads') }} as loads
        left
        join {{ source('ayla', 'hours') }} as hours on loads.event_type = hours.event_type and loads.folder_hour = hours.folder_hour
        union all
        select hours.event_type, hours.folder_hour, 'empty', 1
        from {{ source('ayla', 'hours') }} as hours
        left
        join {{ source('ayla', 'loads') }} as loads on loads.event_type = hours.event_type and loads.folder_hour = hours.folder_hour
        where loads.event_type is null and hours.state = 'empty'
      ) as hours_now
      where known = 1
    ) as known
  ) as numbered
  group by event_type, island
) as spans
