//! `BatchCommands` as a stream in and a stream out.

use super::{key, raw, raw_within, v1};
use crate::connection::{Connection, Requests};
use crate::fake::FakeNode;
use crate::limits::Limits;
use crate::service::batch_commands;
use crate::service::raw::Raw;
use crate::turn::Line;
use futures::FutureExt;
use futures::channel::mpsc;
use futures::stream::{self, Stream, StreamExt};
use hyper_util::rt::TokioExecutor;
use proto::kvrpcpb::*;
use proto::tikvpb::batch_commands_request::Request;
use proto::tikvpb::batch_commands_request::request::Cmd;
use proto::tikvpb::batch_commands_response::response::Cmd as Answer;
use proto::tikvpb::{BatchCommandsEmptyRequest, BatchCommandsRequest, BatchCommandsResponse};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Code, Status};

fn put(number: u64) -> Cmd {
    Cmd::RawPut(RawPutRequest {
        context: v1(),
        key: key(&format!("k{number}")),
        value: key(&number.to_string()),
        ..Default::default()
    })
}

fn get(number: u64) -> Cmd {
    Cmd::RawGet(RawGetRequest {
        context: v1(),
        key: key(&format!("k{number}")),
        ..Default::default()
    })
}

fn batch(commands: impl IntoIterator<Item = (u64, Option<Cmd>)>) -> BatchCommandsRequest {
    let (request_ids, requests) = commands
        .into_iter()
        .map(|(id, cmd)| (id, Request { cmd }))
        .unzip();
    BatchCommandsRequest {
        requests,
        request_ids,
    }
}

/// The responses to requests, with a task for the stream.
fn serve<S>(
    raw: Arc<Raw<FakeNode>>,
    requests: S,
) -> impl Stream<Item = Result<BatchCommandsResponse, Status>>
where
    S: Stream<Item = Result<BatchCommandsRequest, Status>> + Send + Unpin + 'static,
{
    batch_commands::serve(raw, requests, &TokioExecutor::new())
}

/// All answers, by request id; each id must come once.
fn by_id(responses: Vec<Result<BatchCommandsResponse, Status>>) -> BTreeMap<u64, Option<Answer>> {
    let mut answers = BTreeMap::new();
    for response in responses {
        let response = response.expect("no error");
        assert_eq!(response.request_ids.len(), response.responses.len());
        assert!(
            !response.request_ids.is_empty(),
            "an empty response says nothing"
        );
        for (id, answer) in response.request_ids.into_iter().zip(response.responses) {
            assert!(
                answers.insert(id, answer.cmd).is_none(),
                "{id} was answered twice"
            );
        }
    }
    answers
}

#[tokio::test]
async fn every_id_is_answered_once_and_answers_are_put_together() {
    let raw = raw(&FakeNode::v1());
    let puts = batch((0..100).map(|number| (number, Some(put(number)))));
    let gets = batch((100..200).map(|number| (number, Some(get(number - 100)))));
    let written: Vec<_> = serve(Arc::clone(&raw), stream::iter([Ok(puts)]))
        .collect()
        .await;
    assert!(
        written.len() < 10,
        "{} responses for 100 commands at once",
        written.len()
    );
    assert_eq!(by_id(written).len(), 100);
    let read: Vec<_> = serve(raw, stream::iter([Ok(gets)])).collect().await;
    for (id, answer) in by_id(read) {
        let Some(Answer::RawGet(response)) = answer else {
            panic!("{id}: {answer:?}")
        };
        assert_eq!(response.value, (id - 100).to_string());
    }
}

#[tokio::test]
async fn a_missing_command_is_answered_empty_and_hurts_nobody_else() {
    let raw = raw(&FakeNode::v1());
    let requests = batch([(1, Some(put(1))), (2, None), (3, Some(get(9)))]);
    let answers = by_id(serve(raw, stream::iter([Ok(requests)])).collect().await);
    assert!(matches!(answers[&1], Some(Answer::RawPut(_))));
    assert_eq!(answers[&2], None);
    assert!(matches!(&answers[&3], Some(Answer::RawGet(response)) if response.not_found));
}

#[tokio::test]
async fn a_probe_comes_back_with_its_id() {
    let raw = raw(&FakeNode::v1());
    let probe = Cmd::Empty(BatchCommandsEmptyRequest {
        test_id: 42,
        delay_time: 0,
    });
    let answers = by_id(
        serve(raw, stream::iter([Ok(batch([(7, Some(probe))]))]))
            .collect()
            .await,
    );
    assert!(matches!(&answers[&7], Some(Answer::Empty(probe)) if probe.test_id == 42));
}

#[tokio::test]
async fn ids_that_do_not_match_end_the_stream_after_what_was_under_way() {
    let raw = raw(&FakeNode::v1());
    let good = batch([(1, Some(put(1)))]);
    let mut bad = batch([(2, Some(put(2)))]);
    bad.request_ids.push(3);
    let mut responses = Box::pin(serve(raw, stream::iter([Ok(good), Ok(bad)])));
    let first = responses.next().await.unwrap().unwrap();
    assert_eq!(first.request_ids, [1]);
    let last = responses.next().await.unwrap().unwrap_err();
    assert_eq!(last.code(), Code::InvalidArgument);
    assert!(responses.next().await.is_none());
}

#[tokio::test]
async fn no_more_is_read_than_may_be_under_way() {
    let node = FakeNode::v1();
    let raw = raw_within(
        &node,
        Limits {
            batch_commands_max: 2,
            ..Limits::default()
        },
    );
    let (mut sender, requests) = mpsc::channel(0);
    let slow = |id| {
        let probe = BatchCommandsEmptyRequest {
            test_id: id,
            delay_time: 10_000,
        };
        Ok(batch([(id, Some(Cmd::Empty(probe)))]))
    };
    let _responses = serve(raw, requests);
    // Two are taken in; of the rest the channel itself holds one.
    let mut taken = 0;
    for id in 0..10 {
        settle().await;
        if sender.try_send(slow(id)).is_err() {
            break;
        }
        taken += 1;
    }
    assert_eq!(taken, 3);
}

/// Lets all tasks do what they can do now.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn commands_end_though_nobody_takes_their_answers() {
    let node = FakeNode::v1();
    let raw = raw(&node);
    let puts = batch((0..1_000).map(|number| (number, Some(put(number)))));
    let responses = serve(raw, stream::iter([Ok(puts)]));
    let all_are_done = async {
        while node.rows().len() < 1_000 {
            tokio::task::yield_now().await;
        }
    };
    let deadline = Duration::from_secs(10);
    tokio::time::timeout(deadline, all_are_done).await.unwrap();
    assert_eq!(by_id(responses.collect().await).len(), 1_000);
}

#[tokio::test]
async fn no_more_is_read_while_answers_wait() {
    the_second_waits_until_the_first_is_taken(Limits {
        batch_answer_bytes_max: 1,
        ..Limits::default()
    })
    .await;
}

#[tokio::test]
async fn without_room_for_answers_only_those_are_served_who_take_theirs() {
    the_second_waits_until_the_first_is_taken(Limits {
        answer_bytes_max: 100,
        ..Limits::default()
    })
    .await;
}

async fn the_second_waits_until_the_first_is_taken(limits: Limits) {
    let node = FakeNode::v1();
    let raw = raw_within(&node, limits);
    let (mut sender, requests) = mpsc::channel(0);
    let mut responses = Box::pin(serve(raw, requests));
    for number in 0..2 {
        let message = Ok(batch([(number, Some(put(number)))]));
        sender.try_send(message).unwrap();
        settle().await;
    }
    assert_eq!(node.rows().len(), 1, "the second waits in the channel");
    assert!(responses.next().await.is_some());
    settle().await;
    assert_eq!(node.rows().len(), 2);
}

/// Both are polled in turns of the same connection.
#[test]
fn a_stream_is_served_beside_one_that_always_has_more_to_do() {
    let raw = raw(&FakeNode::v1());
    let requests = Requests::default();
    let gets = || Ok(batch((0..100).map(|number| (number, Some(get(number))))));
    let endless = stream::repeat_with(gets);
    let mut endless = batch_commands::serve(Arc::clone(&raw), endless, &requests).boxed();
    let small = stream::iter([Ok(batch([(1, Some(get(1)))]))]);
    let mut small = batch_commands::serve(raw, small, &requests).boxed();
    let protocol = std::future::pending::<()>();
    let mut connection = Connection::new(protocol, requests, &Line::default());
    let is_answered = (0..1_000).any(|_| {
        assert!((&mut connection).now_or_never().is_none());
        while endless.next().now_or_never().is_some() {}
        small.next().now_or_never().is_some()
    });
    assert!(is_answered);
}

#[tokio::test]
async fn a_panic_ends_its_stream_with_an_error() {
    let requests = stream::poll_fn(|_| panic!("on purpose"));
    let mut responses = Box::pin(serve(raw(&FakeNode::v1()), requests));
    let end = responses.next().await.unwrap();
    assert_eq!(end.unwrap_err().code(), Code::Internal);
}

#[tokio::test]
async fn a_dropped_stream_takes_its_commands_along() {
    let raw = raw(&FakeNode::v1());
    let probe = Cmd::Empty(BatchCommandsEmptyRequest {
        test_id: 1,
        delay_time: 10_000,
    });
    let responses = serve(
        Arc::clone(&raw),
        stream::iter([Ok(batch([(1, Some(probe))]))]),
    );
    settle().await;
    drop(responses);
    settle().await;
    assert_eq!(Arc::strong_count(&raw), 1);
}

#[tokio::test]
async fn a_message_with_more_commands_than_may_be_under_way_is_answered_whole() {
    let node = FakeNode::v1();
    let limits = Limits {
        batch_commands_max: 3,
        ..Limits::default()
    };
    let raw = raw_within(&node, limits);
    let requests = batch((0..20).map(|number| (number, Some(put(number)))));
    let answers = by_id(serve(raw, stream::iter([Ok(requests)])).collect().await);
    assert_eq!(answers.len(), 20);
    assert_eq!(node.rows().len(), 20);
}
