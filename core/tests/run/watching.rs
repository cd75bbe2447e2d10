//! Looking on at runs of a deployment, which has a book of slots and whose reaper replaces aggregators.

use std::sync::{Arc, Mutex};

use lambdaload_core::{
    lifecycle::RunEvent,
    ports::{Ledger as _, SlotBook as _, Timestamp},
    records::RunRecord,
    run::{
        reap::reap,
        watch::{Sight, WatchError, watch},
    },
    slots::{Slots, Waiting},
    testing::slots::MemorySlots,
};

use crate::{
    scene::Scene,
    script::{Test, seconds},
};

fn waiting(scene: &Scene, others: u32) -> Slots {
    let waiting = |run| Waiting { run, workers: 2, lasts_ms: 1, until: Timestamp(i64::MAX), after: None };
    let other = |number| serde_json::from_value(format!("01JD8QZV3M4T5W6X7Y8Z9A0B0{number}").into()).expect("an id");
    let runs = (0..others).map(other).chain([scene.id.clone()]);
    Slots { waiting: runs.map(waiting).collect(), ..Slots::default() }
}

async fn put(book: &MemorySlots, slots: Slots) {
    let version = book.slots().await.expect("answers").version;
    book.replace_slots(&Slots { version, ..slots }).await.expect("is written");
}

#[test]
fn a_run_that_waits_shows_its_place_and_is_not_given_up_as_silent() {
    Test::of(2).play(async |scene| {
        let mut plan = scene.prepare().await.plan;
        plan.deadlines.queue = seconds(600);
        let mut run = RunRecord::new(scene.id.clone(), Timestamp(0), plan);
        for event in [RunEvent::Validated, RunEvent::Queued] {
            run.state = run.state.next(event).expect("legal");
        }
        scene.ledger.create_run(&run).await.expect("is recorded");
        let book = Arc::new(MemorySlots::default());
        put(&book, waiting(scene, 2)).await;
        let later = (book.clone(), waiting(scene, 0), scene.time.clone());
        scene.time.spawn(async move {
            let (book, slots, time) = later;
            time.sleep(seconds(300)).await;
            put(&book, slots).await;
        });
        let mut seen = Vec::new();
        let watched = watch(&scene.watch_ports(), Some(&*book), &scene.id, &mut |sight| seen.push(sight)).await;
        // Nobody has given it room or concluded it, and the deployment should have by now.
        assert!(matches!(watched, Err(WatchError::Unended { .. })), "{watched:?}");
        assert!(scene.time.elapsed() >= seconds(600), "{:?}", scene.time.elapsed());
        assert_eq!(seen, [Sight::Queued { place: 3 }, Sight::Queued { place: 1 }]);
    });
}

#[test]
fn watching_goes_on_while_a_deployment_replaces_its_aggregator() {
    Test::of(2).play(async |scene| {
        scene.start().await;
        let aggregator = scene.aggregator();
        scene.at(seconds(2)).await;
        aggregator.task.cancel();
        let (ports, id) = (scene.watch_ports(), scene.id.clone());
        let reaped = Arc::new(Mutex::new(None));
        let set = reaped.clone();
        let time = scene.time.clone();
        scene.time.spawn(async move {
            time.sleep(seconds(60)).await;
            *set.lock().expect("whole") = reap(&ports, &id, "0.1.0").await.expect("answers");
        });
        let mut silences = Vec::new();
        let mut on_sight = |sight| match sight {
            Sight::Silent { silent } => silences.push(silent),
            Sight::Live(_) => {}
            queued @ Sight::Queued { .. } => panic!("{queued:?}"),
        };
        let book = MemorySlots::default();
        let verdict = watch(&scene.watch_ports(), Some(&book), &scene.id, &mut on_sight).await.expect("a verdict");
        assert_eq!(Some(verdict), reaped.lock().expect("whole").clone());
        // After half a minute, and then once in half a minute.
        assert_eq!(silences.len(), 2, "{silences:?}");
        assert!(silences[0] >= seconds(30) && silences[0] < seconds(35), "{silences:?}");
    });
}

#[test]
fn a_run_that_nobody_concludes_is_not_watched_for_ever() {
    Test::of(2).play(async |scene| {
        scene.start().await;
        let book = MemorySlots::default();
        let watched = watch(&scene.watch_ports(), Some(&book), &scene.id, &mut |_| {}).await;
        assert!(matches!(watched, Err(WatchError::Unended { .. })), "{watched:?}");
        assert!(scene.time.elapsed() >= scene.run().plan.latest_end(), "{:?}", scene.time.elapsed());
    });
}
