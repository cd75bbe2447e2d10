//! The script's own `handleSummary()`.

use std::time::Duration;

use lambdaload_core::{
    k6::exit::ProcessExit,
    ports::{Ledger as _, Printed},
    run::summarize::{summarize, summarized},
    secrets::Secrets,
    summary::{Handled, Returned, Terminal},
    testing::{
        faulty::{Fault, When},
        generator::{Hook, Moment},
    },
    verdict::Outcome,
};

use crate::{
    scene::Scene,
    script::{Test, seconds},
    usual::HOLDS,
};

fn returned() -> Handled {
    let file = |name: &str, content: &str| Returned { name: name.to_owned(), content: content.as_bytes().to_vec() };
    Handled::Returned(vec![file("stdout", "all is well\n"), file("summary.html", "<p>")])
}

/// A run whose `handleSummary()` takes a second and leaves this.
fn test(stdout: Vec<u8>, log: &[&str]) -> Test {
    let log = log.iter().map(|&message| message.to_owned()).collect();
    let setup = Hook::Returns(seconds(1), r#"{"token":"f\u00fcnf"}"#.into());
    Test { thresholds: HOLDS, handle_summary: Some((seconds(1), Printed { stdout, log })), ..Test::of(3) }
        .with(1, |k6| k6.setup = setup)
}

async fn run(scene: &Scene) -> Handled {
    let verdict = scene.verdict().await;
    summarize(&scene.watch_ports(), &scene.k6, &Secrets::default(), &verdict, Terminal::default()).await
}

/// The script of the only k6 that was to call it.
fn script(scene: &Scene) -> String {
    let all = scene.k6.summarized();
    let [archive] = all.as_slice() else { panic!("called {} times", all.len()) };
    String::from_utf8_lossy(archive).into_owned()
}

#[test]
fn it_is_called_once_with_the_merged_data_and_whoever_comes_second_gets_what_it_returned() {
    test(returned().to_json(), &[]).play(async |scene| {
        assert_eq!(run(scene).await, returned());
        let verdict = scene.ledger.verdict(&scene.id).await.expect("answers").expect("has one");
        let again =
            summarize(&scene.watch_ports(), &scene.k6, &Secrets::default(), &verdict, Terminal::default()).await;
        assert_eq!(again, returned());
        assert_eq!(summarized(&*scene.store, &scene.id).await, Some(returned()));
        let script = script(scene);
        assert!(script.contains(r#"import * as script from "file:///test.js""#), "{script}");
        assert!(script.contains(r#"\"values\":{\"count\":300,"#), "{script}");
        assert!(script.contains(r#"const setupData = "{\"token\":\"f\\u00fcnf\"}""#), "{script}");
    });
}

#[test]
fn a_script_without_one_costs_nothing() {
    Test::of(2).play(async |scene| {
        assert_eq!(run(scene).await, Handled::Nothing);
        assert!(scene.k6.summarized().is_empty());
        assert_eq!(summarized(&*scene.store, &scene.id).await, None);
    });
}

#[test]
fn of_a_run_in_which_nothing_ran_there_is_nothing_to_summarize() {
    let fails = Hook::Fails(seconds(1), "Error: no login".into());
    test(returned().to_json(), &[]).with(1, |k6| k6.setup = fails).play(async |scene| {
        assert_eq!(run(scene).await, Handled::Nothing);
        assert!(scene.k6.summarized().is_empty());
    });
}

#[test]
fn a_run_that_was_stopped_is_summarized_unless_nobody_would_wait() {
    for at_once in [false, true] {
        let long = test(returned().to_json(), &[]).with(1, |k6| k6.lasts = seconds(60));
        Test { duration: seconds(60), ..long }.play(async |scene| {
            scene.start().await;
            let aggregator = scene.aggregator();
            scene.at(seconds(20)).await;
            scene.stop(at_once).await;
            let verdict = aggregator.outcome().await.expect("a verdict");
            let handled =
                summarize(&scene.watch_ports(), &scene.k6, &Secrets::default(), &verdict, Terminal::default()).await;
            assert_eq!(handled, if at_once { Handled::Nothing } else { returned() });
            scene.fleet.all_over().await;
        });
    }
}

#[test]
fn of_a_measurement_that_cannot_be_believed_no_threshold_is_ok() {
    let killed = |test: Test| {
        test.with(2, |k6| {
            *k6 = k6.clone().dies(Moment::Resumed(seconds(9)), ProcessExit::Signal(9), "");
        })
    };
    for (test, believed) in [(test(returned().to_json(), &[]), true), (killed(test(returned().to_json(), &[])), false)]
    {
        test.play(async |scene| {
            let verdict = scene.verdict().await;
            assert_eq!(verdict.outcome != Outcome::Invalid, believed);
            assert!(verdict.thresholds[0].passed, "on what did arrive it holds");
            summarize(&scene.watch_ports(), &scene.k6, &Secrets::default(), &verdict, Terminal::default()).await;
            assert_eq!(script(scene).contains(r#"{\"ok\":true}"#), believed);
        });
    }
}

#[test]
fn what_k6_said_is_told_when_our_script_could_not_end() {
    test(b"\n  TOTAL RESULTS".to_vec(), &["test aborted: stop", "second"]).play(async |scene| {
        assert_eq!(run(scene).await, Handled::Failed("test aborted: stop\nsecond".to_owned()));
    });
    test(b"\n  TOTAL RESULTS".to_vec(), &[]).play(async |scene| {
        let Handled::Failed(words) = run(scene).await else { panic!("it cannot have returned") };
        assert!(words.contains("a promise that was never settled"), "{words}");
    });
}

#[test]
fn one_that_hangs_is_given_up() {
    let hangs = Some((Duration::MAX, Printed::default()));
    Test { handle_summary: hangs, ..test(Vec::new(), &[]) }.play(async |scene| {
        let before = scene.time.elapsed();
        let Handled::Failed(words) = run(scene).await else { panic!("it cannot have returned") };
        assert!(words.starts_with("handleSummary() did not end within "), "{words}");
        // k6 has two minutes for it, and some to start.
        assert!(scene.time.elapsed() < before + seconds(600));
    });
}

#[test]
fn a_store_that_fails_now_and_then_is_asked_again() {
    for (calls, about, fault) in [
        ("get", "archives", Fault::Fails),
        ("get", "setup", Fault::NeverAnswers),
        ("put_new", "handle_summary", Fault::Fails),
        ("put_new", "handle_summary", Fault::AnswerIsLost),
    ] {
        test(returned().to_json(), &[]).play(async |scene| {
            let verdict = scene.verdict().await;
            scene.aggregator_faults.store.add(calls, about, When::Nth(1), fault);
            let handled =
                summarize(&scene.watch_ports(), &scene.k6, &Secrets::default(), &verdict, Terminal::default()).await;
            assert_eq!(handled, returned(), "{calls} {about}");
            assert_eq!(summarized(&*scene.store, &scene.id).await, Some(returned()), "{calls} {about}");
            assert_eq!(scene.k6.summarized().len(), 1);
        });
    }
}

#[test]
fn a_store_that_is_down_is_named_and_what_was_returned_is_not_lost() {
    test(returned().to_json(), &[]).play(async |scene| {
        let verdict = scene.verdict().await;
        scene.aggregator_faults.store.add("put_new", "handle_summary", When::Always, Fault::Fails);
        let handled =
            summarize(&scene.watch_ports(), &scene.k6, &Secrets::default(), &verdict, Terminal::default()).await;
        assert_eq!(handled, returned());
        scene.aggregator_faults.store.add("get", "", When::Always, Fault::Fails);
        let handled =
            summarize(&scene.watch_ports(), &scene.k6, &Secrets::default(), &verdict, Terminal::default()).await;
        let Handled::Failed(words) = handled else { panic!("{handled:?}") };
        assert!(words.starts_with("handleSummary() could not be called: get `archives/"), "{words}");
    });
}
