{# Generated from airflow-provider-ayla by `python -m ayla_provider.models.dbt dbt`. Don't change it here. #}

{% macro ayla_micros(moment) %}{{ return(adapter.dispatch('ayla_micros', 'ayla')(moment)) }}{% endmacro %}

{% macro duckdb__ayla_micros(moment) %}epoch_us({{ moment }}){% endmacro %}

{% macro postgres__ayla_micros(moment) %}cast(extract(epoch from {{ moment }}) * 1000000 as bigint){% endmacro %}

{% macro bigquery__ayla_micros(moment) %}unix_micros({{ moment }}){% endmacro %}

{% macro snowflake__ayla_micros(moment) %}date_part(epoch_microsecond, {{ moment }}){% endmacro %}

{% macro ayla_moment(micros) %}{{ return(adapter.dispatch('ayla_moment', 'ayla')(micros)) }}{% endmacro %}

{% macro duckdb__ayla_moment(micros) %}make_timestamptz({{ micros }}){% endmacro %}

{% macro postgres__ayla_moment(micros) %}(timestamp with time zone 'epoch' + ({{ micros }}) / 1000000 * interval '1 second' + ({{ micros }}) % 1000000 * interval '1 microsecond'){% endmacro %}

{% macro bigquery__ayla_moment(micros) %}timestamp_micros({{ micros }}){% endmacro %}

{% macro snowflake__ayla_moment(micros) %}to_timestamp_tz({{ micros }}, 6){% endmacro %}

{% macro ayla_local_day(moment) %}{{ return(adapter.dispatch('ayla_local_day', 'ayla')(moment)) }}{% endmacro %}

{% macro duckdb__ayla_local_day(moment) %}cast(timezone('{{ var("ayla_day_timezone", "UTC") }}', {{ moment }}) as date){% endmacro %}

{% macro postgres__ayla_local_day(moment) %}cast({{ moment }} at time zone '{{ var("ayla_day_timezone", "UTC") }}' as date){% endmacro %}

{% macro bigquery__ayla_local_day(moment) %}date({{ moment }}, '{{ var("ayla_day_timezone", "UTC") }}'){% endmacro %}

{% macro snowflake__ayla_local_day(moment) %}to_date(convert_timezone('{{ var("ayla_day_timezone", "UTC") }}', {{ moment }})){% endmacro %}

{% macro ayla_day_start(day) %}{{ return(adapter.dispatch('ayla_day_start', 'ayla')(day)) }}{% endmacro %}

{% macro duckdb__ayla_day_start(day) %}case when cast(timezone('{{ var("ayla_day_timezone", "UTC") }}', make_timestamptz(epoch_us(timezone('{{ var("ayla_day_timezone", "UTC") }}', cast({{ day }} as timestamp))) - 3600000000)) as date) = {{ day }} then make_timestamptz(epoch_us(timezone('{{ var("ayla_day_timezone", "UTC") }}', cast({{ day }} as timestamp))) - 3600000000) else timezone('{{ var("ayla_day_timezone", "UTC") }}', cast({{ day }} as timestamp)) end{% endmacro %}

{% macro postgres__ayla_day_start(day) %}case when cast((timestamp with time zone 'epoch' + (cast(extract(epoch from (cast({{ day }} as timestamp) at time zone '{{ var("ayla_day_timezone", "UTC") }}')) * 1000000 as bigint) - 3600000000) / 1000000 * interval '1 second' + (cast(extract(epoch from (cast({{ day }} as timestamp) at time zone '{{ var("ayla_day_timezone", "UTC") }}')) * 1000000 as bigint) - 3600000000) % 1000000 * interval '1 microsecond') at time zone '{{ var("ayla_day_timezone", "UTC") }}' as date) = {{ day }} then (timestamp with time zone 'epoch' + (cast(extract(epoch from (cast({{ day }} as timestamp) at time zone '{{ var("ayla_day_timezone", "UTC") }}')) * 1000000 as bigint) - 3600000000) / 1000000 * interval '1 second' + (cast(extract(epoch from (cast({{ day }} as timestamp) at time zone '{{ var("ayla_day_timezone", "UTC") }}')) * 1000000 as bigint) - 3600000000) % 1000000 * interval '1 microsecond') else (cast({{ day }} as timestamp) at time zone '{{ var("ayla_day_timezone", "UTC") }}') end{% endmacro %}

{% macro bigquery__ayla_day_start(day) %}case when date(timestamp_micros(unix_micros(timestamp({{ day }}, '{{ var("ayla_day_timezone", "UTC") }}')) - 3600000000), '{{ var("ayla_day_timezone", "UTC") }}') = {{ day }} then timestamp_micros(unix_micros(timestamp({{ day }}, '{{ var("ayla_day_timezone", "UTC") }}')) - 3600000000) else timestamp({{ day }}, '{{ var("ayla_day_timezone", "UTC") }}') end{% endmacro %}

{% macro snowflake__ayla_day_start(day) %}case when to_date(convert_timezone('{{ var("ayla_day_timezone", "UTC") }}', to_timestamp_tz(date_part(epoch_microsecond, to_timestamp_tz(convert_timezone('{{ var("ayla_day_timezone", "UTC") }}', 'UTC', cast({{ day }} as timestamp_ntz)) || ' +0000')) - 3600000000, 6))) = {{ day }} then to_timestamp_tz(date_part(epoch_microsecond, to_timestamp_tz(convert_timezone('{{ var("ayla_day_timezone", "UTC") }}', 'UTC', cast({{ day }} as timestamp_ntz)) || ' +0000')) - 3600000000, 6) else to_timestamp_tz(convert_timezone('{{ var("ayla_day_timezone", "UTC") }}', 'UTC', cast({{ day }} as timestamp_ntz)) || ' +0000') end{% endmacro %}

{% macro ayla_next_day(day) %}{{ return(adapter.dispatch('ayla_next_day', 'ayla')(day)) }}{% endmacro %}

{% macro duckdb__ayla_next_day(day) %}cast({{ day }} + interval 1 day as date){% endmacro %}

{% macro postgres__ayla_next_day(day) %}({{ day }} + 1){% endmacro %}

{% macro bigquery__ayla_next_day(day) %}date_add({{ day }}, interval 1 day){% endmacro %}

{% macro snowflake__ayla_next_day(day) %}dateadd(day, 1, {{ day }}){% endmacro %}

{% macro ayla_from_hex(digits) %}{{ return(adapter.dispatch('ayla_from_hex', 'ayla')(digits)) }}{% endmacro %}

{% macro duckdb__ayla_from_hex(digits) %}cast('0x' || {{ digits }} as bigint){% endmacro %}

{% macro postgres__ayla_from_hex(digits) %}cast(cast('x' || lpad({{ digits }}, 16, '0') as bit(64)) as bigint){% endmacro %}

{% macro bigquery__ayla_from_hex(digits) %}cast(concat('0x', {{ digits }}) as int64){% endmacro %}

{% macro snowflake__ayla_from_hex(digits) %}to_number({{ digits }}, 'XXXXXXXXXXXXXXX'){% endmacro %}

{% macro ayla_quotient(number, divisor) %}{{ return(adapter.dispatch('ayla_quotient', 'ayla')(number, divisor)) }}{% endmacro %}

{% macro duckdb__ayla_quotient(number, divisor) %}({{ number }}) // {{ divisor }}{% endmacro %}

{% macro postgres__ayla_quotient(number, divisor) %}({{ number }}) / {{ divisor }}{% endmacro %}

{% macro bigquery__ayla_quotient(number, divisor) %}div(({{ number }}), {{ divisor }}){% endmacro %}

{% macro snowflake__ayla_quotient(number, divisor) %}floor(({{ number }}) / {{ divisor }}){% endmacro %}

{% macro ayla_total(value, ordering) %}{{ return(adapter.dispatch('ayla_total', 'ayla')(value, ordering)) }}{% endmacro %}

{% macro duckdb__ayla_total(value, ordering) %}sum({{ value }} order by {{ ordering }}){% endmacro %}

{% macro postgres__ayla_total(value, ordering) %}sum({{ value }} order by {{ ordering }}){% endmacro %}

{% macro bigquery__ayla_total(value, ordering) %}sum({{ value }}){% endmacro %}

{% macro snowflake__ayla_total(value, ordering) %}sum({{ value }}){% endmacro %}

{% macro ayla_type(kind) %}{{ return(adapter.dispatch('ayla_type', 'ayla')(kind)) }}{% endmacro %}

{% macro duckdb__ayla_type(kind) %}{{ {"text": "varchar", "integer": "bigint", "number": "double", "boolean": "boolean", "uuid": "uuid", "timestamp": "timestamp with time zone", "date": "date"}[kind] }}{% endmacro %}

{% macro postgres__ayla_type(kind) %}{{ {"text": "text", "integer": "bigint", "number": "double precision", "boolean": "boolean", "uuid": "uuid", "timestamp": "timestamp with time zone", "date": "date"}[kind] }}{% endmacro %}

{% macro bigquery__ayla_type(kind) %}{{ {"text": "string", "integer": "int64", "number": "float64", "boolean": "bool", "uuid": "string", "timestamp": "timestamp", "date": "date"}[kind] }}{% endmacro %}

{% macro snowflake__ayla_type(kind) %}{{ {"text": "varchar", "integer": "number(38, 0)", "number": "double", "boolean": "boolean", "uuid": "varchar(36)", "timestamp": "timestamp_tz(6)", "date": "date"}[kind] }}{% endmacro %}

{% macro ayla_name(name) %}{{ return(adapter.dispatch('ayla_name', 'ayla')(name)) }}{% endmacro %}

{% macro default__ayla_name(name) %}{{ adapter.quote(name) }}{% endmacro %}

{% macro snowflake__ayla_name(name) %}{{ adapter.quote(name | upper) }}{% endmacro %}

{% test ayla_unique_key(model, columns) %}
select {{ columns | join(', ') }} from {{ model }} group by {{ columns | join(', ') }} having count(*) > 1
{% endtest %}
