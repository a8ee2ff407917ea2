-- campaign_performance has one row per day, message, step and variant.
select day, message_kind, message_source_id, action_id, parent_action_id, content_id, count(*)
from {{ source('customerio', 'campaign_performance') }}
group by 1, 2, 3, 4, 5, 6
having count(*) > 1
