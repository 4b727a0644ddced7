//! `diagnosticspb.Diagnostics`: lines of this node's logs, and how its machine is and does.
//!
//! **Invariants.** What is asked runs on threads of its own (`diagnosis`); a caller that leaves, or reads nothing, ends it.
//!
//! **Not here.** The same over HTTP: `status::diagnosis`.

use crate::diagnosis::{Diagnosis, Item, Refused, Topic};
use futures::stream::{self, BoxStream, StreamExt};
use logs::{Found, Level, Query};
use proto::diagnosticspb::diagnostics_server::Diagnostics;
use proto::diagnosticspb::search_log_request::Target;
use proto::diagnosticspb::{
    LogLevel, LogMessage, SearchLogRequest, SearchLogResponse, ServerInfoItem, ServerInfoPair,
    ServerInfoRequest, ServerInfoResponse, ServerInfoType,
};
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone, Default)]
pub(crate) struct DiagnosticsService {
    diagnosis: Diagnosis,
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        Status::resource_exhausted(refused.to_string())
    }
}

#[tonic::async_trait]
impl Diagnostics for DiagnosticsService {
    type search_logStream = BoxStream<'static, Result<SearchLogResponse, Status>>;

    async fn search_log(
        &self,
        request: Request<SearchLogRequest>,
    ) -> Result<Response<Self::search_logStream>, Status> {
        let request = request.into_inner();
        let target = match request.target() {
            Target::Normal => "",
            Target::Slow => logs::slow::TARGET,
        };
        let files =
            logs::files(target).ok_or_else(|| Status::failed_precondition(no_file(target)))?;
        let query = query(&request)?;
        let mut found = self.diagnosis.search(files, query)?;
        let batches = stream::poll_fn(move |cx| found.poll_recv(cx));
        let answers = batches.map(|batch| {
            let messages = batch.into_iter().map(message).collect();
            Ok(SearchLogResponse { messages })
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn server_info(
        &self,
        request: Request<ServerInfoRequest>,
    ) -> Result<Response<ServerInfoResponse>, Status> {
        let topics = match request.into_inner().tp() {
            ServerInfoType::All => Topic::ALL.to_vec(),
            ServerInfoType::HardwareInfo => vec![Topic::Hardware],
            ServerInfoType::SystemInfo => vec![Topic::System],
            ServerInfoType::LoadInfo => vec![Topic::Load],
        };
        let looked = self.diagnosis.machine(topics)?.await;
        let items = looked.map_err(|_| Status::internal("the machine could not be looked at"))?;
        let items = items.into_iter().map(item).collect();
        Ok(Response::new(ServerInfoResponse { items }))
    }
}

/// What is said where there is no file to search.
pub(crate) fn no_file(target: &str) -> String {
    let name = match target {
        logs::slow::TARGET => "slow-log-file",
        _ => "log.file.filename",
    };
    format!("this node has no such log file: set {name}")
}

fn query(request: &SearchLogRequest) -> Result<Query, Status> {
    let end_ms = match request.end_time {
        0 => i64::MAX,
        end => end,
    };
    let levels: Vec<Level> = request.levels().filter_map(level_of).collect();
    let query = Query::new((request.start_time, end_ms), levels, &request.patterns);
    query.map_err(|error| Status::invalid_argument(error.to_string()))
}

fn level_of(level: LogLevel) -> Option<Level> {
    match level {
        LogLevel::Unknown => None,
        LogLevel::Trace => Some(Level::Trace),
        LogLevel::Debug => Some(Level::Debug),
        LogLevel::Info => Some(Level::Info),
        LogLevel::Warn => Some(Level::Warn),
        LogLevel::Error => Some(Level::Error),
        LogLevel::Critical => Some(Level::Fatal),
    }
}

fn message(found: Found) -> LogMessage {
    let level = match found.level {
        Level::Trace => LogLevel::Trace,
        Level::Debug => LogLevel::Debug,
        Level::Info => LogLevel::Info,
        Level::Warn => LogLevel::Warn,
        Level::Error => LogLevel::Error,
        Level::Fatal => LogLevel::Critical,
    };
    LogMessage {
        time: found.time_ms,
        level: level as i32,
        message: found.message,
    }
}

fn item(item: Item) -> ServerInfoItem {
    let pairs = item.pairs.into_iter();
    ServerInfoItem {
        tp: item.kind.to_owned(),
        name: item.name,
        pairs: pairs
            .map(|(key, value)| ServerInfoPair { key, value })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_found_again() {
        for level in Level::ALL {
            let found = Found {
                time_ms: 1,
                level,
                message: String::new(),
            };
            let sent = LogLevel::try_from(message(found).level).unwrap();
            assert_eq!(level_of(sent), Some(level));
        }
        assert_eq!(level_of(LogLevel::Unknown), None);
    }

    #[test]
    fn a_pattern_that_is_none_is_the_callers_fault() {
        let request = SearchLogRequest {
            patterns: vec!["(".to_owned()],
            ..SearchLogRequest::default()
        };
        assert_eq!(
            query(&request).unwrap_err().code(),
            tonic::Code::InvalidArgument
        );
    }

    #[tokio::test]
    async fn without_a_log_file_the_setting_is_named() {
        let service = DiagnosticsService::default();
        let asked = service.search_log(Request::new(SearchLogRequest::default()));
        let refused = asked.await.err().unwrap();
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
        assert!(refused.message().contains("log.file.filename"));
    }

    #[tokio::test]
    async fn the_hardware_is_told_alone_if_it_is_asked_for() {
        let request = ServerInfoRequest {
            tp: ServerInfoType::HardwareInfo as i32,
        };
        let answer = DiagnosticsService::default()
            .server_info(Request::new(request))
            .await;
        let items = answer.unwrap().into_inner().items;
        assert!(
            items
                .iter()
                .any(|item| item.tp == "memory" && !item.pairs.is_empty())
        );
        assert!(items.iter().all(|item| item.tp != "system"));
    }
}
