//! Each known bug of the server, put back: the tests that are about it must notice.

use std::panic::catch_unwind;

use runtime::arm_relapses;

use crate::{dossier, recovery, slots, uploads, views};

#[test]
fn each_known_bug_is_noticed() {
    let bugs: [(&str, fn()); 13] = [
        ("lease-L3", dossier::nothing_is_uploaded_into_a_share_that_goes),
        ("lease-L4", dossier::a_lease_that_is_granted_keeps_the_share),
        ("lease-L5", views::a_share_that_disappeared_goes_with_its_leases),
        ("lease-L5", slots::a_deleted_slot_stays_deleted_while_its_deletion_fails),
        ("lease-L6", slots::requests_have_limits),
        ("lease-L7", recovery::a_restart_ends_what_was_half_done),
        ("lease-L8", dossier::an_unreadable_header_is_one_shares_trouble),
        ("lease-L9", dossier::only_new_bytes_keep_an_upload_open),
        ("lease-L9", uploads::a_share_without_bytes_is_complete_at_once),
        ("lease-L10", dossier::a_share_that_cannot_be_deleted_yet_is_deleted_in_the_end),
        ("lease-L14", dossier::half_an_upload_is_no_share),
        ("lease-A5", uploads::a_server_for_reading_tells_what_it_has_and_takes_nothing),
        ("lease-A13", slots::files_of_the_other_kind_are_refused),
    ];
    let missed = bugs.iter().filter(|(bug, test)| {
        arm_relapses(vec![(*bug).into()]);
        let passed = catch_unwind(test).is_ok();
        arm_relapses(Vec::new());
        passed
    });
    let missed: Vec<_> = missed.map(|(bug, _)| bug).collect();
    assert!(missed.is_empty(), "{missed:?}");
}
