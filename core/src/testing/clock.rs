//! Time that passes only when nothing else happens.
//!
//! [`run_virtual`] polls its futures until all of them wait, and then lets the clock jump to the moment the first of them
//! waits for. Hours take milliseconds, and what happens is the same each time.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use async_trait::async_trait;
use futures::future::BoxFuture;

use crate::ports::{Clock, Timestamp};

/// 2026-11-22 12:00:00 UTC: what clocks on the wall show when virtual time begins.
pub const NOON: Timestamp = Timestamp(1_795_348_800_000_000);

/// No test waits for so long unless something hangs.
const LIMIT: Duration = Duration::from_hours(2);

/// More polls without time passing are a loop that waits for nothing.
const POLLS_AT_ONE_MOMENT: u32 = 1_000_000;

/// The task that [`run_virtual`] was given.
const MAIN: u64 = 0;

/// Runs a future, and all that it spawns, in virtual time, and returns what it returns; tasks that still run are dropped
/// then. Panics if everything waits and no timer will end that, and if two hours of virtual time have passed.
pub fn run_virtual<T, F: Future<Output = T>>(begin: impl FnOnce(VirtualTime) -> F) -> T {
    run_virtual_within(LIMIT, begin)
}

/// The same for so much virtual time.
pub fn run_virtual_within<T, F: Future<Output = T>>(limit: Duration, begin: impl FnOnce(VirtualTime) -> F) -> T {
    let time = VirtualTime::default();
    let mut main = pin!(begin(time.clone()));
    time.lock().ready.push_back(MAIN);
    loop {
        let mut polls = 0;
        while let Some(id) = time.next_ready() {
            polls += 1;
            assert!(polls < POLLS_AT_ONE_MOMENT, "a loop that waits for nothing, at {:?}", time.elapsed());
            let waker = time.waker(id);
            let mut context = Context::from_waker(&waker);
            if id != MAIN {
                time.poll_task(id, &mut context);
            } else if let Poll::Ready(output) = main.as_mut().poll(&mut context) {
                time.drop_tasks();
                return output;
            }
        }
        time.advance(limit);
    }
}

/// Virtual time: a clock and the tasks that live by it. Clones are the same time.
#[derive(Clone, Default)]
pub struct VirtualTime {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    elapsed: Duration,
    /// By when they are due, then by when they were asked for.
    timers: BTreeMap<(Duration, u64), Waker>,
    timers_so_far: u64,
    ready: VecDeque<u64>,
    /// `None` while a task is being polled.
    tasks: BTreeMap<u64, Option<BoxFuture<'static, ()>>>,
    tasks_so_far: u64,
    /// One of each task, so that whoever keeps them can tell that two are the same.
    wakers: BTreeMap<u64, Waker>,
    /// Tasks that were cancelled while they were being polled.
    cancelled: BTreeSet<u64>,
}

impl VirtualTime {
    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.lock().elapsed
    }

    /// A clock whose wall time is right.
    pub fn clock(&self) -> Arc<VirtualClock> {
        self.wrong_clock(0)
    }

    /// A clock on a wall that is so many microseconds fast, or slow if negative.
    pub fn wrong_clock(&self, fast_by_micros: i64) -> Arc<VirtualClock> {
        self.stepping_clock(fast_by_micros, Vec::new())
    }

    /// A clock on a wall that is so many microseconds fast, and at certain moments steps by so many more.
    pub fn stepping_clock(&self, fast_by_micros: i64, steps: Vec<(Duration, i64)>) -> Arc<VirtualClock> {
        Arc::new(VirtualClock { time: self.clone(), fast_by_micros, steps })
    }

    /// Runs a future beside the others.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> Task {
        let mut state = self.lock();
        state.tasks_so_far += 1;
        let id = state.tasks_so_far;
        state.tasks.insert(id, Some(Box::pin(future)));
        state.ready.push_back(id);
        Task { id, time: self.clone() }
    }

    /// Returns when at least `duration` has passed.
    pub async fn sleep(&self, duration: Duration) {
        // What is due at the end of time never is.
        let due = self.elapsed().checked_add(duration).filter(|due| *due < Duration::MAX);
        Sleep { time: self.clone(), due, timer: None }.await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waker(&self, id: u64) -> Waker {
        let new = || Waker::from(Arc::new(TaskWaker { id, time: self.clone() }));
        self.lock().wakers.entry(id).or_insert_with(new).clone()
    }

    fn next_ready(&self) -> Option<u64> {
        self.lock().ready.pop_front()
    }

    fn poll_task(&self, id: u64, context: &mut Context<'_>) {
        let Some(mut future) = self.lock().tasks.get_mut(&id).and_then(Option::take) else { return };
        let poll = future.as_mut().poll(context);
        let mut state = self.lock();
        let cancelled = state.cancelled.remove(&id);
        if poll.is_ready() || cancelled {
            state.tasks.remove(&id);
            state.wakers.remove(&id);
        } else if let Some(place) = state.tasks.get_mut(&id) {
            *place = Some(future);
            return;
        }
        // What a future holds may lock this state when it is dropped.
        drop(state);
        drop(future);
    }

    /// Goes to the next moment for which somebody waits.
    fn advance(&self, limit: Duration) {
        let due = {
            let mut state = self.lock();
            let Some((moment, _)) = state.timers.keys().next().copied() else {
                panic!("at {:?} everything waits, and nothing will end that", state.elapsed);
            };
            assert!(moment < limit, "something hangs: {limit:?} have passed");
            state.elapsed = moment;
            let later = state.timers.split_off(&(moment, u64::MAX));
            std::mem::replace(&mut state.timers, later)
        };
        due.into_values().for_each(Waker::wake);
    }

    fn drop_tasks(&self) {
        // Dropping one may spawn another.
        loop {
            let tasks = std::mem::take(&mut self.lock().tasks);
            // They hold this state.
            self.lock().wakers.clear();
            if tasks.is_empty() {
                return;
            }
        }
    }
}

/// A spawned future.
pub struct Task {
    id: u64,
    time: VirtualTime,
}

impl Task {
    /// Whether it has ended or was cancelled.
    pub fn is_over(&self) -> bool {
        let state = self.time.lock();
        !state.tasks.contains_key(&self.id) || state.cancelled.contains(&self.id)
    }

    /// Drops the future where it stands, as a process that is killed.
    pub fn cancel(&self) {
        let mut state = self.time.lock();
        match state.tasks.get(&self.id) {
            Some(Some(_)) => {
                let future = state.tasks.remove(&self.id);
                state.wakers.remove(&self.id);
                drop(state);
                drop(future);
            }
            Some(None) => {
                state.cancelled.insert(self.id);
            }
            None => {}
        }
    }
}

struct TaskWaker {
    id: u64,
    time: VirtualTime,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut state = self.time.lock();
        if !state.ready.contains(&self.id) {
            state.ready.push_back(self.id);
        }
    }
}

struct Sleep {
    time: VirtualTime,
    /// `None` for a moment beyond all time.
    due: Option<Duration>,
    timer: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(due) = self.due else { return Poll::Pending };
        let time = self.time.clone();
        let mut state = time.lock();
        if due <= state.elapsed {
            return Poll::Ready(());
        }
        let timer = *self.timer.get_or_insert_with(|| {
            state.timers_so_far += 1;
            (due, state.timers_so_far)
        });
        state.timers.insert(timer, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            self.time.lock().timers.remove(&timer);
        }
    }
}

/// A clock of virtual time.
pub struct VirtualClock {
    time: VirtualTime,
    fast_by_micros: i64,
    steps: Vec<(Duration, i64)>,
}

impl VirtualClock {
    /// What the wall shows at a moment of virtual time.
    pub fn wall_at(&self, moment: Duration) -> Timestamp {
        let stepped = self.steps.iter().filter(|(at, _)| *at <= moment).map(|(_, by)| by).sum::<i64>();
        Timestamp(NOON.plus(moment).0 + self.fast_by_micros + stepped)
    }
}

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.wall_at(self.time.elapsed())
    }

    fn monotonic(&self) -> Duration {
        self.time.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        self.time.sleep(duration).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleepers_wake_in_order_of_time() {
        let woken = run_virtual(|time| async move {
            let woken = Arc::new(Mutex::new(Vec::new()));
            let sleepers = [300, 100, 200, 100].into_iter().zip(0..).map(|(millis, name)| {
                let (sleeping, woken) = (time.clone(), Arc::clone(&woken));
                time.spawn(async move {
                    sleeping.sleep(Duration::from_millis(millis)).await;
                    woken.lock().expect("whole").push((name, sleeping.elapsed().as_millis()));
                })
            });
            let sleepers: Vec<Task> = sleepers.collect();
            time.sleep(Duration::from_hours(1)).await;
            assert!(sleepers.iter().all(Task::is_over));

            woken.lock().expect("whole").clone()
        });
        assert_eq!(woken, [(1, 100), (3, 100), (2, 200), (0, 300)]);
    }

    #[test]
    fn what_is_cancelled_goes_no_further() {
        run_virtual(|time| async move {
            let guard = Arc::new(());
            let (held, sleeping) = (Arc::clone(&guard), time.clone());
            let task = time.spawn(async move {
                sleeping.sleep(Duration::from_secs(1)).await;
                panic!("{held:?} was not dropped");
            });
            time.sleep(Duration::from_millis(500)).await;
            task.cancel();
            assert_eq!((task.is_over(), Arc::strong_count(&guard)), (true, 1));
            time.sleep(Duration::from_secs(2)).await;
        });
    }

    #[test]
    #[should_panic(expected = "everything waits")]
    fn waiting_for_nothing_is_noticed() {
        run_virtual(|time| async move { time.sleep(Duration::MAX).await });
    }

    #[test]
    #[should_panic(expected = "something hangs")]
    fn waiting_for_ever_is_noticed() {
        run_virtual(|time| async move {
            loop {
                time.sleep(Duration::from_mins(1)).await;
            }
        });
    }
}
