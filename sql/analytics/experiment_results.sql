-- What:   what each variant of an experiment brings once it was seen, and its lift against the control.
-- Grain:  one experiment and variant from {{ first_date }} to {{ last_date }}; robots left out.
-- Source: fact_clicks; a map is read in Athena's words; Redshift's are in redshift/experiment_results.sql.
--
-- docs/data-model.md says who is a visitor, and converted. Who saw two variants of an experiment is a
-- cross-over: in crossover_count, under the variant seen first, and in no other number. The control is the
-- variant `control`, else the first by name.
-- z_score compares two proportions, pooled. |z_score| > 1.96: mere chance does so less than once in 20 times,
-- given ten visitors and more who converted and who did not in both variants, and dates chosen beforehand.
-- visitor_share is to be what the variants were drawn with; else the exposures are wrong, and all the rest.
WITH events AS (
    SELECT
        clicks.event_id,
        clicks.event_type,
        clicks.event_timestamp,
        clicks.is_bot,
        element_at(clicks.metadata, 'experiment') AS experiment,
        element_at(clicks.metadata, 'variant') AS variant,
        -- What the variant is drawn by. A user has one on every device, and perhaps as many variants.
        coalesce(clicks.anonymous_id, clicks.user_id) AS visitor_id,
        CASE
            WHEN trim(coalesce(clicks.currency, '')) = '' OR upper(clicks.currency) = '{{ currency }}'
                THEN coalesce(clicks.price, 0) * coalesce(clicks.quantity, 1)
            ELSE 0
        END AS amount
    FROM {{ names.glue.database }}.fact_clicks AS clicks
    WHERE
        clicks.year * 10000 + clicks.month * 100 + clicks.day
        BETWEEN {{ first_date | replace('-', '') }} AND {{ last_date | replace('-', '') }}
),

-- By visitor, since the exposures of a reaction have no user agent.
robots AS (
    SELECT DISTINCT visitor_id
    FROM events
    WHERE is_bot
),

exposures AS (
    SELECT
        experiment,
        variant,
        visitor_id,
        event_timestamp,
        row_number() OVER (
            PARTITION BY experiment, visitor_id
            ORDER BY event_timestamp, event_id
        ) AS exposure_number
    FROM events
    WHERE
        event_type = 'exposure'
        AND experiment IS NOT NULL
        AND variant IS NOT NULL
),

visitors AS (
    SELECT
        exposures.experiment,
        exposures.visitor_id,
        max(CASE WHEN exposures.exposure_number = 1 THEN exposures.variant END) AS variant,
        min(exposures.event_timestamp) AS exposed_at,
        count(DISTINCT exposures.variant) AS seen_variant_count
    FROM exposures
    LEFT JOIN robots ON exposures.visitor_id = robots.visitor_id
    WHERE robots.visitor_id IS NULL
    GROUP BY exposures.experiment, exposures.visitor_id
),

outcomes AS (
    SELECT
        visitors.experiment,
        visitors.variant,
        visitors.visitor_id,
        visitors.seen_variant_count,
        count(purchases.event_id) AS purchase_count,
        coalesce(sum(purchases.amount), 0) AS revenue
    FROM visitors
    LEFT JOIN events AS purchases
        ON
            visitors.visitor_id = purchases.visitor_id
            AND visitors.exposed_at < purchases.event_timestamp
            AND purchases.event_type = 'purchase'
    GROUP BY
        visitors.experiment,
        visitors.variant,
        visitors.visitor_id,
        visitors.seen_variant_count
),

variants AS (
    SELECT
        experiment,
        variant,
        CASE WHEN variant = 'control' THEN 0 ELSE 1 END AS name_order,
        sum(CASE WHEN seen_variant_count > 1 THEN 0 ELSE 1 END) AS visitor_count,
        sum(CASE WHEN seen_variant_count > 1 THEN 1 ELSE 0 END) AS crossover_count,
        sum(
            CASE WHEN seen_variant_count > 1 OR purchase_count = 0 THEN 0 ELSE 1 END
        ) AS converted_visitor_count,
        sum(CASE WHEN seen_variant_count > 1 THEN 0 ELSE revenue END) AS revenue
    FROM outcomes
    GROUP BY experiment, variant
),

compared AS (
    SELECT
        experiment,
        variant,
        visitor_count,
        crossover_count,
        converted_visitor_count,
        revenue,
        1e0 * visitor_count
        / nullif(sum(visitor_count) OVER (PARTITION BY experiment), 0) AS visitor_share,
        row_number() OVER (PARTITION BY experiment ORDER BY name_order, variant) AS variant_number,
        -- Up to the row before: the control itself is compared with nothing.
        first_value(visitor_count) OVER (
            PARTITION BY experiment
            ORDER BY name_order, variant
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS control_visitor_count,
        first_value(converted_visitor_count) OVER (
            PARTITION BY experiment
            ORDER BY name_order, variant
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS control_converted_visitor_count
    FROM variants
),

rates AS (
    SELECT
        experiment,
        variant,
        visitor_count,
        crossover_count,
        converted_visitor_count,
        revenue,
        visitor_share,
        variant_number = 1 AS is_control,
        1e0 * converted_visitor_count / nullif(visitor_count, 0) AS conversion_rate,
        1e0 * control_converted_visitor_count / nullif(control_visitor_count, 0) AS control_rate,
        1e0 * (converted_visitor_count + control_converted_visitor_count)
        / nullif(visitor_count + control_visitor_count, 0) AS pooled_rate,
        1e0 / nullif(visitor_count, 0) + 1e0 / nullif(control_visitor_count, 0) AS inverse_sizes
    FROM compared
)

SELECT
    experiment,
    variant,
    is_control,
    visitor_count,
    crossover_count,
    converted_visitor_count,
    revenue,
    round(visitor_share, 4) AS visitor_share,
    round(conversion_rate, 4) AS visitor_conversion_rate,
    round(1e0 * revenue / nullif(visitor_count, 0), 4) AS revenue_per_visitor,
    round(conversion_rate / nullif(control_rate, 0) - 1, 4) AS conversion_lift,
    round(
        (conversion_rate - control_rate)
        / nullif(sqrt(pooled_rate * (1 - pooled_rate) * inverse_sizes), 0),
        4
    ) AS z_score
FROM rates
ORDER BY experiment ASC, is_control DESC, variant ASC
