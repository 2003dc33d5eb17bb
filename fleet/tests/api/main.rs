//! The use cases over HTTP: each test is run over SQLite and over PostgreSQL, and ends with the truths
//! that hold whatever happened.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod campaigns;
mod device;
mod devices;
mod document;
mod filters;
mod fleet;
mod packages;
mod people;
mod plans;
#[path = "../common/postgres.rs"]
mod postgres;

/// Runs each test of a file over both databases.
macro_rules! over_both {
    ($file:ident: $($name:ident)*) => {
        mod $file {
            mod over_sqlite {
                $(#[test]
                fn $name() {
                    let fleet = $crate::fleet::Fleet::over_sqlite();
                    $crate::$file::$name(&fleet);
                    fleet.truths();
                })*
            }

            mod over_postgresql {
                $(#[test]
                fn $name() {
                    if let Some(fleet) = $crate::fleet::Fleet::over_postgresql() {
                        $crate::$file::$name(&fleet);
                        fleet.truths();
                    }
                })*
            }
        }
    };
}

mod run {
    over_both! { devices:
        a_device_is_added_once_and_found_at_once
        ids_are_checked_at_the_border
        a_device_that_is_taken_away_leaves_nothing
        devices_are_searched_by_regular_expression_and_paged
        a_device_has_the_plan_that_it_was_given_last
        components_are_fitted_and_taken_out
        packages_are_installed_and_taken_off
        edits_need_the_revision_that_was_read
        a_request_with_a_key_is_done_once
        a_fleet_goes_out_and_comes_in_a_line_a_device
        bodies_that_make_no_sense_change_nothing
        of_a_thousand_adds_of_one_id_one_is_first
    }
    over_both! { packages:
        a_package_is_kept_with_its_bytes_and_digests
        what_broke_its_promise_is_not_kept
        an_upload_goes_on_where_it_was_left
        metadata_alone_cannot_be_ordered
        packages_are_searched_by_name_and_version
        dependencies_are_edges_and_never_circles
        devices_are_found_by_what_is_installed
        envelopes_are_believed_when_a_device_of_the_class_would
    }
    over_both! { filters:
        filters_are_added_once_and_wrong_ones_are_told_where
        an_expression_is_tried_and_counted
        filters_are_linked_to_packages_and_taken_away
        components_are_added_searched_and_taken_away
        the_old_words_do_the_same
    }
    over_both! { plans:
        plans_are_added_once_and_searched
        cycles_are_added_once_and_listed_between_two_moments
        traffic_is_counted_in_the_cycle_of_its_time
    }
    over_both! { campaigns:
        a_campaign_is_for_all_that_its_filters_mean
        a_dry_run_changes_nothing_and_is_what_then_happens
        cancel_takes_what_waits_and_leaves_what_is_in_flight
        each_device_is_in_one_list_and_the_five_add_up
        what_is_over_is_purged_and_nothing_else
        the_blacklist_keeps_packages_from_everybody
        waking_is_for_devices_with_work_once_an_interval
        an_inventory_is_asked_for_and_given
    }
    over_both! { device:
        the_next_update_is_in_flight_then_by_priority_then_by_age
        nothing_begins_before_its_time
        too_large_an_update_waits_for_the_next_cycle
        completed_means_that_it_was_seen_to_run
        a_failure_is_told_with_its_code_and_nothing_is_said_twice
        history_has_everything_that_was_and_is_to_be
    }
    over_both! { people:
        every_operation_asks_who_and_tenants_do_not_meet
        tokens_end_and_are_never_shown_again
        the_audit_has_everything_and_shows_what_was_changed
        events_are_told_from_any_number_on
    }
}
