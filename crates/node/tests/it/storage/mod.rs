//! One suite over both databases: what is written is read back, and nothing else.

mod fixture;
mod metering;
mod ordered;
mod paging;
mod proofs;
mod retention;
mod stored;
mod writing;

/// Makes a test of each function for each database.
macro_rules! on_both {
    ($($module:ident::$name:ident,)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::fixture::on_sqlite(super::$module::$name).await;
            })*
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::fixture::on_postgres(super::$module::$name).await;
            })*
        }
    };
}

on_both! {
    stored::a_store_gives_back_what_it_was_given,
    stored::newer_formats_and_other_networks_are_refused,
    stored::registries_are_kept_for_ever,
    stored::recent_entries_are_found_by_fee_period,
    stored::leaf_hashes_and_checkpoints_are_those_written,
    stored::damage_is_reported,
    paging::flushes_end_at_checkpoints_within_the_limits,
    paging::topic_pages_take_up_where_the_cursor_is,
    paging::the_newest_entry_of_every_log_is_found,
    paging::walks_over_random_stores_have_no_gap_and_no_duplicate,
    ordered::blocks_and_places_are_served_with_proofs,
    ordered::state_and_agreements_are_replaced,
    ordered::a_log_of_an_agreement_without_its_beginning_is_refused,
    ordered::evidence_is_stored_once,
    proofs::proofs_are_those_of_the_whole_tree,
    proofs::proofs_do_not_read_the_leaves,
    proofs::stores_of_an_earlier_format_get_their_tiles,
    retention::payloads_go_when_their_retention_ends,
    writing::a_second_write_is_refused_and_changes_nothing,
    writing::abandoned_writes_leave_all_or_nothing,
    writing::many_sets_are_written_at_once_in_order,
    writing::writing_goes_on_after_a_failure,
    writing::two_stores_cannot_both_extend_a_log,
    writing::entries_out_of_their_topics_order_are_stored,
    metering::reports_are_those_of_a_meter_fed_by_hand_before_and_after_a_restart,
    metering::entries_that_are_not_here_yet_are_waited_for,
    metering::another_history_makes_another_report,
}

#[tokio::test]
async fn unknown_urls_are_refused() {
    let opened = tidings_node::storage::Storage::open("mysql://x", fixture::NETWORK).await;
    assert!(matches!(opened, Err(tidings_node::storage::StorageError::UnknownUrl)));
}
