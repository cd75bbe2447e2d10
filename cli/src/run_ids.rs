//! Ids of runs: making new ones, and finding the one a person means.

use lambdaload_core::{
    ids::RunId,
    ports::{Ledger, RunSummary},
};
use ulid::Ulid;

use crate::{error::Failure, view::numbers};

/// Fewer letters than these are as good as none.
const SHORTEST_PREFIX: usize = 4;

/// How far back a prefix is looked for.
const LOOKED_AT: usize = 1_000;

/// A new id; later ones sort behind it, and no other process makes the same.
pub(crate) fn new() -> Result<RunId, Failure> {
    RunId::parse(&Ulid::generate().to_string()).map_err(|error| Failure::infrastructure(error.to_string()))
}

/// The run that a person means: by its whole id, its first letters, or as lists show it (`01JD8Q…4K`).
pub(crate) async fn find(ledger: &dyn Ledger, text: &str) -> Result<RunId, Failure> {
    if let Ok(id) = RunId::parse(text) {
        // Whether there is such a run is said by whoever asks for it.
        return Ok(id);
    }
    let runs: Vec<RunSummary> = ledger.latest_runs(LOOKED_AT).await?;
    choose(text, runs.into_iter().map(|run| run.record.id))
}

fn choose(text: &str, ids: impl Iterator<Item = RunId>) -> Result<RunId, Failure> {
    let wanted = text.to_ascii_uppercase().replace("...", "…");
    let (head, tail) = wanted.split_once('…').unwrap_or((&wanted, ""));
    if head.len() < SHORTEST_PREFIX {
        return Err(Failure::not_valid(format!("`{text}` is not a run's id"))
            .detail(format!("expected the id, or at least its first {SHORTEST_PREFIX} letters"))
            .hint("`lambdaload runs list` shows the runs there are"));
    }
    let mut found: Vec<RunId> = ids.filter(|id| id.as_str().starts_with(head) && id.as_str().ends_with(tail)).collect();
    match (found.pop(), found.as_slice()) {
        (Some(one), []) => Ok(one),
        (None, _) => Err(Failure::not_valid(format!("there is no run `{text}`"))
            .hint("`lambdaload runs list` shows the runs there are")),
        (Some(last), others) => {
            let failure = Failure::not_valid(format!("`{text}` may be any of {} runs", others.len() + 1));
            let listed = others.iter().chain([&last]).take(10);
            let failure =
                listed.fold(failure, |failure, id| failure.detail(format!("{id}   {}", numbers::short_id(id))));
            Err(failure.hint("give more letters of the one you mean"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [&str; 3] = ["01JD8QZV3M4T5W6X7Y8Z9A0B4K", "01JD8QZV3M4T5W6X7Y8Z9A0BZ2", "01JD7AZV3M4T5W6X7Y8Z9A0B11"];

    fn chosen(text: &str) -> Result<String, Failure> {
        choose(text, IDS.iter().map(|id| RunId::parse(id).expect("an id"))).map(|id| id.to_string())
    }

    #[test]
    fn enough_letters_choose_a_run() {
        assert_eq!(chosen("01JD7").expect("one"), IDS[2]);
        assert_eq!(chosen("01jd7azv").expect("one"), IDS[2]);
        assert_eq!(chosen("01JD8Q…4K").expect("one"), IDS[0]);
        assert_eq!(chosen("01JD8Q...z2").expect("one"), IDS[1]);
    }

    #[test]
    fn an_ambiguous_prefix_lists_what_it_may_mean() {
        let failure = chosen("01JD8").expect_err("two");
        assert_eq!(failure.headline, "`01JD8` may be any of 2 runs");
        assert!(failure.lines().contains("01JD8QZV3M4T5W6X7Y8Z9A0B4K   01JD8Q…4K"), "{}", failure.lines());
    }

    #[test]
    fn what_means_no_run_is_refused() {
        assert_eq!(chosen("01JC").expect_err("none").headline, "there is no run `01JC`");
        assert_eq!(chosen("01J").expect_err("short").headline, "`01J` is not a run's id");
        assert_eq!(chosen("").expect_err("short").headline, "`` is not a run's id");
    }

    #[test]
    fn new_ids_are_ids_and_differ() {
        assert_ne!(new().expect("an id"), new().expect("an id"));
    }
}
