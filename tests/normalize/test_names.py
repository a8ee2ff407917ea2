"""Names: what an event, a property, a context key and a source are called in PostgreSQL."""

import pytest

from loader.normalize.collections import COLLECTIONS, SHARED_NAMES
from loader.normalize.names import (
    RESERVED,
    SYSTEM_COLUMNS,
    context_column,
    identifier,
    property_column,
    schema_name,
    shorten,
    snake_case,
    table_name,
)

SNAKE_CASE = [
    ("Email Delivered", "email_delivered"),
    ("EMAIL DELIVERED", "email_delivered"),
    ("email-delivered", "email_delivered"),
    ("Email Marked as Spam", "email_marked_as_spam"),
    ("Email Marked As Spam", "email_marked_as_spam"),
    ("Email Link Clicked", "email_link_clicked"),
    ("Email Unsubscribed", "email_unsubscribed"),
    ("Unsubscribed", "unsubscribed"),
    ("userId", "user_id"),
    ("userID", "user_id"),
    ("User ID", "user_id"),
    ("user_id", "user_id"),
    ("emailId", "email_id"),
    ("email_id", "email_id"),
    ("campaignIDs", "campaign_ids"),
    ("linkURL", "link_url"),
    ("HTTPServer", "httpserver"),
    ("URLPath", "urlpath"),
    ("OSVersion", "osversion"),
    ("CStringRef", "cstring_ref"),
    ("howIUseIt", "how_iuse_it"),
    ("Save ePUB", "save_e_pub"),
    ("iOSVersion", "i_osversion"),
    ("samPLE text", "sam_ple_text"),
    ("ABc", "abc"),
    ("isHTML5Ready", "is_html5ready"),
    ("Base64Encode", "base64_encode"),
    ("v2Beta", "v2_beta"),
    ("THE5r", "the5r"),
    ("f_pX9", "f_p_x9"),
    ("a1B2c3D4", "a1_b2c3_d4"),
    ("SHA256hash", "sha256hash"),
    ("2FA Enabled", "2fa_enabled"),
    ("5TEst", "5test"),
    ("utm_1", "utm_1"),
    ("_id", "id"),
    ("id_", "id"),
    ("__x", "x"),
    ("foo__bar", "foo_bar"),
    ("$clusterTime", "cluster_time"),
    ("a.b-c d", "a_b_c_d"),
    ("café", "caf"),
    ("über Event", "ber_event"),
    ("Straße", "stra_e"),
    ("日本 Email", "email"),
    ("日本語", ""),
    ("", ""),
    ("  \t\n", ""),
    ("__", ""),
    ("x\0y", "x_y"),
    ("x\ud800y", "x_y"),
    ("ＡＢＣ", ""),
    ("٣ items", "items"),
    ("product_id.sku", "product_id_sku"),
    ("nestedA.nestedB", "nested_a_nested_b"),
]

IDENTIFIER = [
    ("Email Opened", "email_opened"),
    ("2FA Enabled", "_2fa_enabled"),
    ("101 account update", "_101_account_update"),
    ("9", "_9"),
    ("order", "_order"),
    ("ORDER", "_order"),
    ("_order", "_order"),
    ("user", "_user"),
    ("tag", "_tag"),
    ("Open", "_open"),
    ("timestamp", "_timestamp"),
    ("mostly16", "_mostly16"),
    ("current_user_id", "_current_user_id"),
    ("ordering", "ordering"),
    ("type", "type"),
    ("language", "language"),
    ("channel", "channel"),
    ("window", "window"),
    ("ctid", "_ctid"),
    ("xmin", "_xmin"),
    ("cMax", "c_max"),
    ("tableoid", "_tableoid"),
    ("", "_01271cf25"),
    ("日本語", "_02f370c8e"),
]


@pytest.mark.parametrize(("name", "expected"), SNAKE_CASE, ids=ascii)
def test_words_are_cut_and_joined(name: str, expected: str) -> None:
    assert expected == snake_case(name)


@pytest.mark.parametrize(("name", "expected"), IDENTIFIER, ids=ascii)
def test_an_identifier_is_one_that_postgresql_takes(name: str, expected: str) -> None:
    assert expected == identifier(name)


@pytest.mark.parametrize("word", sorted(RESERVED | SYSTEM_COLUMNS))
def test_no_reserved_word_stays_bare(word: str) -> None:
    assert "_" + word == identifier(word)


def test_a_name_without_letters_or_digits_keeps_a_name_of_its_own() -> None:
    assert identifier("日本語") != identifier("日本人")
    assert identifier("日本語") == identifier("日本語")


def test_a_name_of_63_bytes_is_not_cut() -> None:
    assert identifier("n" * 63) == "n" * 63


def test_a_name_of_64_bytes_is_cut_and_ends_with_a_hash() -> None:
    assert identifier("n" * 64) == "n" * 54 + "_49c7fd74"


def test_two_long_names_that_share_their_beginning_stay_two() -> None:
    first, second = identifier("n" * 80 + " one"), identifier("n" * 80 + " two")
    assert first != second
    assert first[:54] == second[:54]
    assert 63 == len(first) == len(second)


def test_spellings_of_one_long_name_stay_one() -> None:
    assert identifier("Some Long Name " * 9) == identifier("some_long_name_" * 9)


def test_a_long_reserved_or_digit_name_has_63_bytes_with_its_underscore() -> None:
    assert len(identifier("1" * 63)) == 63
    assert identifier("1" * 63).startswith("_1")


def test_a_cut_never_leaves_two_underscores() -> None:
    assert shorten("n" * 53 + "_" + "m" * 20) == "n" * 53 + "_4bcac150"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("Customer.io", "customerio"),
        ("AutopilotHQ", "autopilothq"),
        ("Customer.io EU", "customerio_eu"),
        ("fb-ads", "fb_ads"),
        ("Two  spaces - and a dash", "two_spaces_and_a_dash"),
        (" Trimmed ", "trimmed"),
        ("3doctors", "_3doctors"),
        ("already_a_name", "already_a_name"),
        ("Café", "caf"),
        ('a"; drop schema public; --', "a_drop_schema_public"),
        ("日本", ""),
        ("...", ""),
        ("", ""),
        ("s" * 63, "s" * 63),
    ],
    ids=ascii,
)
def test_a_source_names_its_schema(source: str, expected: str) -> None:
    assert expected == schema_name(source)


def test_two_long_sources_that_share_their_beginning_get_two_schemas() -> None:
    first, second = schema_name("s" * 70 + "1"), schema_name("s" * 70 + "2")
    assert first != second
    assert 63 == len(first) == len(second)


@pytest.mark.parametrize(
    ("event_text", "expected"),
    [
        *((collection.event_text, collection.table) for collection in COLLECTIONS),
        ("SMS Delivered", "sms_delivered"),
        ("In-App Opened", "in_app_opened"),
        ("tracks", "_tracks"),
        ("Tracks", "_tracks"),
        ("_tracks", "_tracks"),
        ("Email Messages", "_email_messages"),
        ("email messages now", "_email_messages_now"),
        ("Campaign Performance", "_campaign_performance"),
        ("Messages", "_messages"),
        ("messages pkey", "messages_pkey_0"),
        ("dim users", "_dim_users"),
        ("Dim", "dim"),
        ("dimension", "dimension"),
        ("dim users pkey", "_dim_users_pkey_0"),
        ("dim_" + "x" * 58, "_dim_" + "x" * 58),
        ("dim_" + "x" * 59, "dim_" + "x" * 59),  # there is no room for more
        ("alembic version", "_alembic_version"),
        ("Alembic_Version", "_alembic_version"),
        ("_loads", "loads"),
        ("_Files", "files"),
        ("_rejects", "rejects"),
        ("Order", "_order"),
        ("user", "_user"),
        ("2nd Reminder", "_2nd_reminder"),
        ("Email Opened Pkey", "email_opened_pkey_0"),
        ("_tracks_pkey", "tracks_pkey_0"),
        ("Pkey", "pkey"),
    ],
    ids=ascii,
)
def test_an_event_names_its_table_and_takes_none_of_ours(event_text: str, expected: str) -> None:
    assert expected == table_name(event_text)


@pytest.mark.parametrize(
    ("event_text", "other"),
    [
        ("Email Opened", "Email Opened Pkey"),
        ("Email Opened", "email_opened_pkey"),
        ("Tracks", "Tracks Pkey"),
        ("Order", "Order Pkey"),
        ("2nd", "2nd pkey"),
    ],
)
def test_no_table_has_the_name_of_the_index_of_another(event_text: str, other: str) -> None:
    """A leading `_` is not enough: `_x_pkey` is the index of the table `_x`."""
    assert table_name(event_text) + "_pkey" != table_name(other)


@pytest.mark.parametrize(
    "event_text", ["tracks pkey", "loads pkey", "files pkey", "rejects pkey", "_loads_pkey"]
)
def test_no_table_has_the_name_of_an_index_of_ours(event_text: str) -> None:
    ours = {f"{table}_pkey" for table in ("tracks", "_loads", "_files", "_rejects")}
    assert table_name(event_text) not in ours


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("delivery_id", "delivery_id"),
        ("deliveryId", "delivery_id"),
        ("product_id.sku", "product_id_sku"),
        ("id", "_id"),
        ("ID", "_id"),
        ("_id", "_id"),
        ("timestamp", "_timestamp"),
        ("received_at", "_received_at"),
        ("receivedAt", "_received_at"),
        ("sentAt", "_sent_at"),
        ("uuid_ts", "_uuid_ts"),
        ("userId", "_user_id"),
        ("anonymous_id", "_anonymous_id"),
        ("event", "_event"),
        ("eventText", "_event_text"),
        ("context_ip", "_context_ip"),
        ("context.ip", "_context_ip"),
        ("context_x", "_context_x"),
        ("context", "context"),
        ("contextual", "contextual"),
        ("extra", "extra"),
        ("_extra", "extra"),
        ("user", "_user"),
        ("user.id", "_user_id"),
        ("order", "_order"),
        ("type", "type"),
        ("5", "_5"),
        ("uuid", "uuid"),
    ],
)
def test_a_property_gets_a_column_that_is_no_shared_column(path: str, expected: str) -> None:
    assert expected == property_column(path)


@pytest.mark.parametrize("shared", sorted(SHARED_NAMES))
def test_no_property_takes_a_shared_column(shared: str) -> None:
    assert property_column(shared) not in SHARED_NAMES


def test_a_property_named_like_a_long_context_column_is_cut_to_fit() -> None:
    name = property_column("context_" + "n" * 55)
    assert len(name) <= 63
    assert name.startswith("_context_n")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("ip", "context_ip"),
        ("userAgent", "context_user_agent"),
        ("user_agent", "context_user_agent"),
        ("traits.email", "context_traits_email"),
        ("app.version", "context_app_version"),
        ("order", "context_order"),
        ("timestamp", "context_timestamp"),
        ("1", "context_1"),
        ("library.name", "context_library_name"),
    ],
)
def test_a_context_key_gets_a_column_with_its_prefix(path: str, expected: str) -> None:
    assert expected == context_column(path)


@pytest.mark.parametrize("path", ["", "日本", "-", "."], ids=ascii)
def test_a_context_key_never_takes_the_column_of_a_property(path: str) -> None:
    assert context_column(path).startswith("context_")
    assert context_column(path) != property_column("context")


def test_a_source_never_gets_a_schema_that_postgresql_keeps_for_itself() -> None:
    assert not schema_name("PG Events").startswith("pg_")
