-- Generated from airflow-provider-ayla by `python -m ayla_provider.models.dbt dbt`. Don't change it here.
select seen.dsn as dsn, oems.oem_id as oem_id, models.oem_model as oem_model, seen.first_seen, seen.last_seen, seen.last_heard, {{ ayla.ayla_moment("activated.happened") }} as activated_at, {{ ayla.ayla_moment("registered.first_at") }} as first_registered_at, owner.owned_from as registered_at, owner.owned_to as unregistered_at, case when registered.dsn is null then null else owner.dsn is not null and owner.owned_to is null end as registered, case when owner.owned_to is null then owner.user_uuid end as user_uuid, cast(coalesce(counts.owner_count, 0) as {{ ayla.ayla_type("integer") }}) as owner_count, cast(coalesce(counts.registrations, 0) as {{ ayla.ayla_type("integer") }}) as registrations
from (
  select t.dsn, min(first_at) as first_seen, max(last_at) as last_seen, max(heard_at) as last_heard
  from {{ ref('ayla_device_activity') }} as t
  group by t.dsn
) as seen
left
join (
  select t.dsn, t.oem_id, row_number() over (partition by t.dsn order by t.last_at desc, t.oem_id desc) as standing
  from {{ ref('ayla_device_activity') }} as t
  where t.oem_id is not null
) as oems on oems.dsn = seen.dsn and oems.standing = 1
left
join (
  select t.dsn, t.oem_model, row_number() over (partition by t.dsn order by t.last_at desc, t.oem_model desc) as standing
  from {{ ref('ayla_device_activity') }} as t
  where t.oem_model is not null
) as models on models.dsn = seen.dsn and models.standing = 1
left
join (
  select dsn, cast(null as {{ ayla.ayla_type("integer") }}) as happened
  from {{ ref('ayla_staged_registrations') }}
  where 1 = 0
) as activated on activated.dsn = seen.dsn
left
join (
  select dsn, min(case when registered then happened end) as first_at
  from {{ ref('ayla_staged_registrations') }}
  group by dsn
) as registered on registered.dsn = seen.dsn
left
join (
  select t.dsn, t.owned_from, t.owned_to, t.user_uuid, row_number() over (partition by t.dsn order by t.owned_from desc) as newest
  from {{ ref('ayla_device_owner') }} as t
) as owner on owner.dsn = seen.dsn and owner.newest = 1
left
join (
  select dsn, count(*) as registrations, count(distinct user_uuid) as owner_count
  from (
    select t.dsn, t.owned_from, t.owned_to, t.user_uuid, row_number() over (partition by t.dsn order by t.owned_from desc) as newest
    from {{ ref('ayla_device_owner') }} as t
  ) as owners
  group by dsn
) as counts on counts.dsn = seen.dsn
