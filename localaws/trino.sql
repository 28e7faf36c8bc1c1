-- Trino's functions that DuckDB lacks, and under the name trino_* those that it means differently.
-- A macro may use only those above it.

CREATE MACRO java_double(s) AS CASE
    WHEN s IN ('nan', '-nan') THEN 'NaN'
    WHEN s = 'inf' THEN 'Infinity'
    WHEN s = '-inf' THEN '-Infinity'
    WHEN s LIKE '%e%' THEN
        CASE WHEN s LIKE '%.%e%' THEN split_part(s, 'e', 1) ELSE split_part(s, 'e', 1) || '.0' END
        || 'E' || CAST(TRY_CAST(split_part(s, 'e', 2) AS INTEGER) AS VARCHAR)
    WHEN abs(TRY_CAST(s AS DOUBLE)) >= 1e7 THEN regexp_replace(regexp_replace(
        regexp_replace(s, '^(-?\d)(\d*)\.(\d*)$', '\1.\2\3'), '0+$', ''), '\.$', '.0')
        || 'E' || CAST(strpos(ltrim(s, '-'), '.') - 2 AS VARCHAR)
    WHEN abs(TRY_CAST(s AS DOUBLE)) < 1e-3 AND TRY_CAST(s AS DOUBLE) <> 0 THEN regexp_replace(
        regexp_replace(s, '^(-?)0\.0*(\d)(\d*)$', '\1\2.\3'), '\.$', '.0')
        || 'E-' || CAST(length(regexp_extract(s, '\.(0*)', 1)) + 1 AS VARCHAR)
    ELSE s END;
CREATE MACRO trino_text(x) AS CASE
    WHEN typeof(x) IN ('TIMESTAMP', 'TIMESTAMP_S', 'TIMESTAMP_MS', 'TIMESTAMP_NS') THEN
        left(CASE WHEN CAST(x AS VARCHAR) LIKE '%.%' THEN CAST(x AS VARCHAR) || '000'
             ELSE CAST(x AS VARCHAR) || '.000' END, 23)
    WHEN typeof(x) = 'TIMESTAMP WITH TIME ZONE' THEN
        left(CASE WHEN CAST(x AS VARCHAR) LIKE '%.%'
             THEN regexp_replace(CAST(x AS VARCHAR), '[+]00$', '') || '000'
             ELSE regexp_replace(CAST(x AS VARCHAR), '[+]00$', '') || '.000' END, 23) || ' UTC'
    WHEN typeof(x) IN ('DOUBLE', 'FLOAT') THEN java_double(CAST(x AS VARCHAR))
    ELSE CAST(x AS VARCHAR) END;
CREATE MACRO trino_date_trunc(u, x DATE) AS CAST(date_trunc(u, x) AS DATE),
    (u, x TIMESTAMP) AS date_trunc(u, x), (u, x TIMESTAMPTZ) AS date_trunc(u, x);
CREATE MACRO trino_plus(x DATE, i) AS CAST(x + i AS DATE), (x TIMESTAMP, i) AS x + i, (x TIMESTAMPTZ, i) AS x + i;
CREATE MACRO trino_sequence(a DATE, b DATE) AS CAST(generate_series(a, b, INTERVAL 1 DAY) AS DATE[]),
    (a DATE, b DATE, c) AS CAST(generate_series(a, b, c) AS DATE[]),
    (a TIMESTAMP, b TIMESTAMP, c) AS generate_series(a, b, c),
    (a BIGINT, b BIGINT) AS generate_series(a, b, CASE WHEN a > b THEN -1 ELSE 1 END),
    (a BIGINT, b BIGINT, c BIGINT) AS generate_series(a, b, c);
CREATE MACRO trino_regexp_extract(s, p) AS CASE WHEN regexp_matches(s, p) THEN regexp_extract(s, p) END,
    (s, p, g) AS CASE WHEN regexp_matches(s, p) THEN regexp_extract(s, p, g) END;
CREATE MACRO trino_split_part(s, d, n) AS CASE WHEN n <= len(str_split(s, d)) THEN split_part(s, d, n) END;
CREATE MACRO trino_json_scalar(j, p) AS CASE WHEN json_valid(CAST(j AS VARCHAR))
    AND json_type(CAST(j AS VARCHAR), p) NOT IN ('OBJECT', 'ARRAY')
    THEN json_extract_string(CAST(j AS VARCHAR), p) END;
CREATE MACRO trino_json(j, p) AS CASE WHEN json_valid(CAST(j AS VARCHAR))
    THEN json_extract(CAST(j AS VARCHAR), p) END;
CREATE MACRO json_size(j, p) AS CASE json_type(CAST(j AS VARCHAR), p)
    WHEN 'OBJECT' THEN len(json_keys(CAST(j AS VARCHAR), p))
    WHEN 'ARRAY' THEN CAST(json_array_length(CAST(j AS VARCHAR), p) AS BIGINT) ELSE 0 END;
CREATE MACRO json_array_get(j, i) AS json_extract(j, '$[' || CAST(i AS VARCHAR) || ']');
CREATE MACRO trino_array_distinct(l) AS list_filter(l, lambda x, i: list_position(l, x) = i);
CREATE MACRO array_union(a, b) AS trino_array_distinct(list_concat(a, b));
CREATE MACRO arrays_overlap(a, b) AS list_has_any(a, b);
CREATE MACRO array_first(l) AS l[1];
CREATE MACRO zip(a, b) AS list_zip(a, b);
CREATE MACRO trino_cardinality(x) AS CASE json_type(to_json(x))
    WHEN 'OBJECT' THEN len(json_keys(to_json(x))) ELSE CAST(json_array_length(to_json(x)) AS BIGINT) END;
CREATE MACRO trino_millisecond(x) AS millisecond(x) % 1000;
CREATE MACRO to_iso8601(x DATE) AS CAST(x AS VARCHAR),
    (x TIMESTAMP) AS strftime(x, '%Y-%m-%dT%H:%M:%S.%g'),
    (x TIMESTAMPTZ) AS strftime(x, '%Y-%m-%dT%H:%M:%S.%gZ');
CREATE MACRO at_timezone(x, z) AS timezone(z, CAST(x AS TIMESTAMPTZ));
CREATE MACRO with_timezone(x, z) AS timezone(z, CAST(x AS TIMESTAMP));
CREATE MACRO map_agg(k, v) AS map_from_entries(list_filter(list({'k': k, 'v': v}) FILTER (k IS NOT NULL),
    lambda e, i: list_position(list_transform(list({'k': k, 'v': v}) FILTER (k IS NOT NULL),
    lambda x: x.k), e.k) = i));
CREATE MACRO multimap_agg(k, v) AS map_from_entries(list_transform(list_distinct(list(k)),
    lambda x: {'k': x, 'v': list_transform(list_filter(list({'k': k, 'v': v}), lambda e: e.k = x),
    lambda e: e.v)}));
CREATE MACRO every(x) AS bool_and(x);
CREATE MACRO nan() AS CAST('nan' AS DOUBLE);
CREATE MACRO infinity() AS CAST('inf' AS DOUBLE);
CREATE MACRO e() AS exp(1);
CREATE MACRO codepoint(s) AS unicode(s);
CREATE MACRO trino_random(n) AS CAST(floor(random() * n) AS BIGINT);
CREATE MACRO trino_sha1(x) AS unhex(sha1(x));
CREATE MACRO split_to_map(s, a, b) AS map_from_entries(list_transform(str_split(s, a),
    lambda x: {'k': split_part(x, b, 1), 'v': split_part(x, b, 2)}));
CREATE MACRO url_extract_protocol(u) AS trino_regexp_extract(u, '^([^:/?#]+):', 1);
CREATE MACRO url_extract_host(u) AS coalesce(trino_regexp_extract(u, '^[^:/?#]+://(?:[^/?#]*@)?([^:/?#]*)', 1), '');
CREATE MACRO url_extract_port(u) AS CAST(trino_regexp_extract(u, '^[^:/?#]+://[^/?#]*:(\d+)', 1) AS BIGINT);
CREATE MACRO url_extract_path(u) AS regexp_extract(u, '^(?:[^:/?#]+:)?(?://[^/?#]*)?([^?#]*)', 1);
CREATE MACRO url_extract_query(u) AS regexp_extract(u, '^[^?#]*\?([^#]*)', 1);
CREATE MACRO url_extract_fragment(u) AS regexp_extract(u, '#(.*)$', 1);
CREATE MACRO url_extract_parameter(u, n) AS url_decode(trino_regexp_extract(
    regexp_extract(u, '^[^?#]*\?([^#]*)', 1), '(?:^|&)' || regexp_escape(n) || '(?:=([^&]*)|&|$)', 1));
