use std::task::Poll;

use futures::{FutureExt, poll};

use super::*;
use crate::snapshot::Snapshot;

fn on_demand() -> (OnDemand, Questions) {
    let (on_demand, mut questions) = OnDemand::new(LiveSnapshot::new(Snapshot::default()));
    questions.open();
    (on_demand, questions)
}

fn held(questions: &Questions) -> (usize, usize) {
    let state = questions.shared.state();
    (state.awaited.len(), state.unanswered.len())
}

#[tokio::test]
async fn a_name_is_asked_for_once_and_a_refusal_is_remembered() {
    let (on_demand, mut questions) = on_demand();
    let [mut first, mut second] = [0, 1].map(|_| Box::pin(on_demand.certificate("a.example")));
    assert_eq!((poll!(&mut first), poll!(&mut second)), (Poll::Pending, Poll::Pending));
    let question = questions.next().await;
    assert_eq!(&*question.server_name, "a.example");
    assert!(questions.next().now_or_never().is_none(), "nothing more is asked");
    questions.answer(question.id, Verdict::Refused);
    assert_eq!((first.await, second.await), (Err(NoCertificate::Refused), Err(NoCertificate::Refused)));
    assert_eq!(on_demand.certificate("a.example").await, Err(NoCertificate::Refused));
    assert!(questions.next().now_or_never().is_none(), "nothing more is asked");
    assert_eq!(held(&questions), (0, 0));
}

#[tokio::test]
async fn what_is_not_for_now_is_asked_again() {
    let (on_demand, mut questions) = on_demand();
    for _ in 0..2 {
        let mut waiting = Box::pin(on_demand.certificate("a.example"));
        assert_eq!(poll!(&mut waiting), Poll::Pending);
        let id = questions.next().await.id;
        questions.answer(id, Verdict::NotNow);
        assert_eq!(waiting.await, Err(NoCertificate::NotNow));
    }
}

#[tokio::test]
async fn without_a_stream_nobody_waits() {
    let (on_demand, mut questions) = on_demand();
    let mut waiting = Box::pin(on_demand.certificate("a.example"));
    assert_eq!(poll!(&mut waiting), Poll::Pending);
    questions.close();
    assert_eq!(waiting.await, Err(NoCertificate::NotNow));
    assert_eq!(on_demand.certificate("b.example").await, Err(NoCertificate::NoStream));
    questions.open();
    assert!(questions.next().now_or_never().is_none(), "what was asked before is not asked again");
    assert_eq!(held(&questions), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_does_not_come_is_waited_for_only_so_long() {
    let (on_demand, mut questions) = on_demand();
    let mut waiting = Box::pin(on_demand.certificate("a.example"));
    assert_eq!(poll!(&mut waiting), Poll::Pending);
    let id = questions.next().await.id;
    questions.answer(id, Verdict::Coming);
    let began = tokio::time::Instant::now();
    assert_eq!(waiting.await, Err(NoCertificate::TooLate));
    assert_eq!(began.elapsed(), CERTIFICATE_TIMEOUT);
    assert_eq!(held(&questions), (0, 0));
}

#[tokio::test]
async fn a_flood_of_names_is_bounded() {
    let (on_demand, questions) = on_demand();
    let names: Vec<String> = (0..10_000).map(|number| format!("{number}.example")).collect();
    let mut waiting = Vec::new();
    for name in &names {
        let mut handshake = Box::pin(on_demand.certificate(name));
        match poll!(&mut handshake) {
            Poll::Pending => waiting.push(handshake),
            Poll::Ready(result) => assert_eq!(result, Err(NoCertificate::TooManyQuestions)),
        }
    }
    assert!((1..=QUESTIONS_MAX).contains(&waiting.len()), "{}", waiting.len());
    assert_eq!(held(&questions), (waiting.len(), waiting.len()));
    drop(waiting);
    assert_eq!(held(&questions), (0, 0));
}

#[tokio::test]
async fn only_so_many_handshakes_wait() {
    let (on_demand, _questions) = on_demand();
    let mut waiting = Vec::new();
    for _ in 0..HANDSHAKES_WAITING_MAX {
        let mut handshake = Box::pin(on_demand.certificate("a.example"));
        assert_eq!(poll!(&mut handshake), Poll::Pending);
        waiting.push(handshake);
    }
    assert_eq!(on_demand.certificate("a.example").await, Err(NoCertificate::TooManyWait));
}
