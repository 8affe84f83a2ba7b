//! The habits of the tree. What each rule means and how it is checked: `tests/src/tidy`.

use tests::tidy::{assert_none, code, imports, project, text, tree};

#[test]
fn files_are_short() {
    assert_none("file length", &text::file_length(&tree()));
}

#[test]
fn nothing_is_left_lying_about() {
    assert_none("leftovers", &text::leftovers(&tree()));
}

#[test]
fn crates_come_from_the_public_registry() {
    assert_none("registries", &text::registries(&tree()));
}

#[test]
fn time_chance_and_threads_come_from_env() {
    assert_none("banned calls", &code::banned_calls(&tree()));
}

#[test]
fn unsafe_stays_where_it_is_listed() {
    assert_none("unsafe", &code::unsafe_code(&tree()));
}

#[test]
fn select_is_biased() {
    assert_none("select!", &code::unbiased_select(&tree()));
}

#[test]
fn hash_maps_are_not_walked() {
    assert_none("hash order", &code::hash_order(&tree()));
}

#[test]
fn lints_are_silenced_with_a_reason() {
    assert_none("silenced lints", &code::silenced_lints(&tree()));
}

#[test]
fn errors_have_a_kind() {
    assert_none("error kinds", &code::error_kinds(&tree()));
}

#[test]
fn packages_depend_one_way() {
    assert_none("packages", &imports::packages(&tree()));
}

#[test]
fn the_domain_sees_only_the_contract() {
    assert_none("imports of actors", &imports::actors(&tree()));
}

#[test]
fn the_recount_is_independent() {
    assert_none("imports of the recount", &imports::recount(&tree()));
}

#[test]
fn panics_unwind_and_assertions_stay() {
    assert_none("profiles", &project::profiles(&tree()));
}

#[test]
fn dependencies_have_a_reason() {
    assert_none("dependencies", &project::dependencies(&tree()));
}

#[test]
fn services_have_a_page_and_tests() {
    assert_none("services", &project::services(&tree()));
}

#[test]
fn the_seed_schema_is_as_it_was() {
    assert_none("seed schema", &project::seed_schema(&tree()));
}

#[test]
fn metrics_are_documented() {
    assert_none("metrics", &project::metrics(&tree()));
}
