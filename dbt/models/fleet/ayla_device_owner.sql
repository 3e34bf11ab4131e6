-- Generated from airflow-provider-ayla by `python -m ayla_provider.models.dbt dbt`. Don't change it here.
select dsn, {{ ayla.ayla_moment("happened") }} as owned_from, {{ ayla.ayla_moment("ends") }} as owned_to, user_uuid, registration_type
from (
  select *, lead(happened) over (partition by dsn order by place) as ends
  from (
    select *
    from (
      select *, lag(registered) over (partition by dsn order by happened, case when registered then 1 else 0 end, case when row_user is null then 0 else 1 end, cast(row_user as {{ ayla.ayla_type("text") }}), registration_type) as was_registered, lag(user_uuid) over (partition by dsn order by happened, case when registered then 1 else 0 end, case when row_user is null then 0 else 1 end, cast(row_user as {{ ayla.ayla_type("text") }}), registration_type) as was_user, row_number() over (partition by dsn order by happened, case when registered then 1 else 0 end, case when row_user is null then 0 else 1 end, cast(row_user as {{ ayla.ayla_type("text") }}), registration_type) as place
      from {{ ref('ayla_staged_registrations') }}
    ) as events
    where case when registered then was_registered is null or not was_registered or user_uuid is distinct
    from was_user else coalesce(was_registered, false) end
  ) as changes
) as spans
where registered and (ends is null or ends > happened)
