//! Jobs as their users run them: through the command, with crashes, disks and inputs as they come.

mod clock;
mod disks;
mod files;
mod incremental;
mod killed;
mod on_postgres;
mod place;
mod runs;
mod served;
mod verified;

use crate::Test;

pub(crate) const TESTS: &[Test] = &[
    ("a_date_is_done_once", runs::once),
    ("a_clock_that_is_set", clock::set),
    ("checks_stop_a_run", runs::checks),
    ("chunks_do_not_change_the_rows", runs::chunks),
    ("delta", runs::delta),
    ("disks", disks::full),
    ("exported", files::exported),
    ("failed_rows_are_listed_by_their_key", runs::failures),
    ("files_that_make_no_sense", files::refused),
    ("in_sql", files::in_sql),
    ("incremental", incremental::incremental),
    ("incremental_on_several_machines", incremental::shared),
    ("joins_and_aggregates", runs::shapes),
    ("killed_and_gone_on_with", killed::parquet),
    ("killed_and_gone_on_with_in_a_delta_table", killed::delta),
    ("killed_and_gone_on_with_in_a_delta_table_on_s3", killed::delta_on_s3),
    ("killed_and_gone_on_with_on_s3", killed::parquet_on_s3),
    ("mended", runs::mended),
    ("on_postgres", on_postgres::on_postgres),
    ("not_planned", runs::not_planned),
    ("one_run_at_a_time", runs::locked),
    ("pages_and_webhook", served::pages),
    ("scheduled", served::served),
    ("sinks_that_go_away", runs::sinks),
    ("verified", verified::verified),
    ("verified_to_the_picture", verified::a_picture),
    ("what_ships", files::shipped),
];
