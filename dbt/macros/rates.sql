{# The rates, over rows that have the counts; the words of loader/warehouse/marts/metrics.py. #}
{% macro customerio_rates() %}
    sum(opened)::numeric / nullif(sum(delivered), 0) as open_rate,
    sum(human_opened)::numeric / nullif(sum(delivered), 0) as human_open_rate,
    sum(clicked)::numeric / nullif(sum(delivered), 0) as click_rate,
    sum(clicked)::numeric / nullif(sum(human_opened), 0) as click_to_open_rate,
    sum(unsubscribed)::numeric / nullif(sum(delivered), 0) as unsubscribe_rate,
    sum(marked_as_spam)::numeric / nullif(sum(delivered), 0) as spam_rate,
    sum(bounced)::numeric / nullif(sum(attempted), 0) as bounce_rate,
    sum(converted)::numeric / nullif(sum(delivered), 0) as conversion_rate
{% endmacro %}
