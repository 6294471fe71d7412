use std::sync::atomic::{AtomicI64, Ordering};

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::{
    model::Timestamp,
    reconcile::lease::{LeaseKeeper, holder},
    store::fixture::Fixture,
    task_status::{TaskAction, TaskState},
};

const TIMEOUT: Duration = Duration::from_secs(20);
const REST: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_secs(60);
const NOW: i64 = 1_800_000_000_000;

#[derive(Debug)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// Hands each pause to the test, which ends it.
#[derive(Debug)]
struct TestTimer(mpsc::UnboundedSender<(Duration, oneshot::Sender<()>)>);

impl Timer for TestTimer {
    fn sleep(&self, pause: Duration) -> BoxFuture<'static, ()> {
        let (end, ended) = oneshot::channel();
        self.0.send((pause, end)).unwrap();
        Box::pin(async move { ended.await.unwrap() })
    }
}

#[derive(Debug)]
struct NoJitter;

impl Random for NoJitter {
    fn fraction(&self) -> f64 {
        0.5
    }
}

/// A task whose steps end as the test says.
struct TestTask {
    signals: mpsc::UnboundedReceiver<()>,
    steps: mpsc::UnboundedReceiver<Result<Step, StepError>>,
    ended: mpsc::UnboundedSender<()>,
}

impl Task for TestTask {
    const TIMING: Timing =
        Timing { rest: REST, interval: INTERVAL, retry: Duration::from_secs(2), retry_max: Duration::from_secs(5) };

    async fn signal(&mut self) {
        self.signals.recv().await;
    }

    async fn step(&mut self) -> Result<Step, StepError> {
        match self.steps.recv().await {
            Some(ended) => ended,
            None => std::future::pending().await,
        }
    }

    async fn end(&mut self) {
        self.ended.send(()).unwrap();
    }
}

/// The test's end of a [`TestTask`].
struct Control {
    signals: mpsc::UnboundedSender<()>,
    steps: mpsc::UnboundedSender<Result<Step, StepError>>,
    ended: mpsc::UnboundedReceiver<()>,
}

fn task() -> (TestTask, Control) {
    let ((signals, to), (steps, outcomes)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let (ended, ends) = mpsc::unbounded_channel();
    (TestTask { signals: to, steps: outcomes, ended }, Control { signals, steps, ended: ends })
}

struct Setup {
    driver: Driver,
    clock: Arc<TestClock>,
    pauses: mpsc::UnboundedReceiver<(Duration, oneshot::Sender<()>)>,
}

impl Setup {
    fn new() -> Self {
        let (sender, pauses) = mpsc::unbounded_channel();
        let clock = Arc::new(TestClock(AtomicI64::new(NOW)));
        let timer = Arc::new(TestTimer(sender));
        let driver = Driver::new(clock.clone(), timer, Arc::new(NoJitter), Arc::new(Metrics::new()));
        Self { driver, clock, pauses }
    }

    /// The next pause, which begins now, and what ends it.
    async fn pause(&mut self) -> (Duration, oneshot::Sender<()>) {
        tokio::time::timeout(TIMEOUT, self.pauses.recv()).await.expect("a pause begins").unwrap()
    }

    /// Lets the next pause pass, which is to be so long.
    async fn pass(&mut self, expected: Duration) {
        let (pause, end) = self.pause().await;
        assert_eq!(pause, expected);
        self.clock.0.fetch_add(i64::try_from(pause.as_millis()).unwrap(), Ordering::SeqCst);
        end.send(()).unwrap();
    }

    fn status(&self) -> TaskStatus {
        self.driver.statuses.list().pop().expect("the task is registered")
    }
}

fn refused() -> StepError {
    StepError::Renewals { failed: 3 }
}

#[tokio::test]
async fn a_signal_and_the_time_activate_the_same_step() {
    let mut setup = Setup::new();
    let (task, control) = task();
    let running = tokio::spawn(setup.driver.run("test", task, CancellationToken::new()));
    control.steps.send(Ok(Step::did("replaced certificates: 3").waiting_for("an edge"))).unwrap();
    setup.pass(REST).await;
    // Up to a tenth less than the interval, of which the rest has passed.
    let (pause, _end) = setup.pause().await;
    assert_eq!(pause, INTERVAL.mul_f64(0.95) - REST);
    let action = TaskAction { text: "replaced certificates: 3".into(), at: Timestamp(NOW) };
    let expected = TaskStatus {
        name: "test",
        state: TaskState::Waiting,
        last_run_at: Some(Timestamp(NOW)),
        last_success_at: Some(Timestamp(NOW)),
        last_action: Some(action.clone()),
        waiting_for: Some("an edge".into()),
        next_run_at: Some(Timestamp(NOW + 57_000)),
        failure: None,
        consecutive_failures: 0,
        failures: 0,
    };
    assert_eq!(setup.status(), expected);

    control.signals.send(()).unwrap();
    control.steps.send(Ok(Step::idle().due_in(Duration::from_secs(7)))).unwrap();
    setup.pass(REST).await;
    setup.pass(Duration::from_secs(6)).await;
    control.steps.send(Ok(Step::idle())).unwrap();
    setup.pass(REST).await;
    // What was done stays in the status when the steps after it find nothing to do.
    let status = setup.status();
    assert_eq!((status.last_action, status.last_run_at), (Some(action), Some(Timestamp(NOW + 8_000))));
    running.abort();
}

#[tokio::test]
async fn a_task_that_fails_is_repeated_with_backoff_whatever_changes() {
    let mut setup = Setup::new();
    let (task, control) = task();
    let running = tokio::spawn(setup.driver.run("test", task, CancellationToken::new()));
    for seconds in [2, 4, 5, 5] {
        control.steps.send(Err(refused())).unwrap();
        control.signals.send(()).unwrap();
        setup.pass(Duration::from_secs(seconds)).await;
    }
    control.steps.send(Err(refused())).unwrap();
    let (_, end) = setup.pause().await;
    let status = setup.status();
    assert_eq!((status.state, status.consecutive_failures, status.failures), (TaskState::Failing, 5, 5));
    assert_eq!(status.failure, Some(refused().to_string()));
    assert_eq!((status.last_run_at, status.last_success_at), (Some(Timestamp(NOW + 16_000)), None));
    assert_eq!(status.next_run_at, Some(Timestamp(NOW + 21_000)));

    end.send(()).unwrap();
    control.steps.send(Ok(Step::idle())).unwrap();
    setup.pass(REST).await;
    let status = setup.status();
    assert_eq!((status.failure, status.consecutive_failures, status.failures), (None, 0, 5));
    let metrics = setup.driver.metrics.text();
    for line in [
        "switchyard_task_failures_total{task=\"test\"} 5\n",
        "switchyard_task_last_run_timestamp_seconds{task=\"test\"} 1800000016\n",
        "switchyard_task_last_success_timestamp_seconds{task=\"test\"} 1800000016\n",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    running.abort();
}

#[tokio::test]
async fn at_the_end_a_step_is_dropped_and_the_rest_is_done() {
    let setup = Setup::new();
    let (task, mut control) = task();
    let ending = CancellationToken::new();
    let running = tokio::spawn(setup.driver.run("test", task, ending.clone()));
    assert!(setup.driver.metrics.text().contains("switchyard_task_failures_total{task=\"test\"} 0\n"));
    ending.cancel();
    tokio::time::timeout(TIMEOUT, running).await.expect("it ends").unwrap();
    assert_eq!(control.ended.try_recv(), Ok(()));
}

#[tokio::test]
async fn work_under_a_lease_is_dropped_when_the_lease_is_lost() {
    let database = Fixture::sqlite().await;
    let mut setup = Setup::new();
    let mut keeper = LeaseKeeper::new(database.open().await, "test", holder().unwrap());
    let (begun, mut terms) = mpsc::unbounded_channel();
    let begin = move |_: Lease| {
        let (task, control) = task();
        begun.send(control).unwrap();
        task
    };
    let running = setup.driver.run_leading("test", keeper.leadership(), begin, CancellationToken::new());
    let running = tokio::spawn(running);
    assert_eq!(setup.status().state, TaskState::Standby);
    keeper.step().await.unwrap();
    let control = tokio::time::timeout(TIMEOUT, terms.recv()).await.expect("a term begins").unwrap();

    control.steps.send(Ok(Step::idle())).unwrap();
    setup.pass(REST).await;
    assert!(setup.driver.metrics.text().contains("last_run_timestamp_seconds{"));
    keeper.end().await;
    tokio::time::timeout(TIMEOUT, control.steps.closed()).await.expect("the work is dropped");
    assert_eq!(setup.status().state, TaskState::Standby);
    assert!(!setup.driver.metrics.text().contains("last_run_timestamp_seconds{"), "it does not run");
    keeper.step().await.unwrap();
    let _control = tokio::time::timeout(TIMEOUT, terms.recv()).await.expect("another term begins").unwrap();
    running.abort();
}
