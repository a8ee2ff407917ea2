-- An example to copy: each message by week. Counts add up; rates are made of the sums.
select
    date_trunc('week', day)::date as week,
    message_kind,
    message_source_id,
    max(message_name) as message_name,
    sum(attempted) as attempted,
    sum(delivered) as delivered,
    {{ customerio_rates() }}
from {{ source('customerio', 'campaign_performance') }}
group by 1, 2, 3
