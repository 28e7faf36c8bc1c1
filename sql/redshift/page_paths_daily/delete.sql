-- What:   first half of the load: the days that the run has rebuilt leave the warehouse.
-- Grain:  one day, from_page and to_page.
-- Source: model_runs' rebuilt days; the same days are inserted next, in the same transaction.
DELETE FROM {{ names.redshift.schema }}.page_paths_daily
WHERE {{ rebuilt_days(ti, 'page_paths_daily') }}
