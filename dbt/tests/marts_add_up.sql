-- No delivered message is lost, or counted twice, on its way into the marts.
with counted as (
    select
        (select count(*) from {{ source('customerio', 'email_messages') }} where is_delivered)
            as messages,
        (select sum(delivered) from {{ source('customerio', 'campaign_performance') }})
            as by_campaign,
        (select sum(delivered) from {{ source('customerio', 'deliverability') }}) as by_domain
)
select *
from counted
where messages <> coalesce(by_campaign, 0) or messages <> coalesce(by_domain, 0)
