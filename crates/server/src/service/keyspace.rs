//! `keyspacepb.Keyspace`: names of keyspaces for API V2.
//!
//! **Not here.** Making or changing keyspaces: the placement driver knows one, `DEFAULT`.

use crate::backend::Backend;
use crate::service::pd::PdService;
use placement::{Keyspace, Request as Ask, Response as Answer};
use proto::keyspacepb::keyspace_server::Keyspace as KeyspaceRpc;
use proto::keyspacepb::{
    GetAllKeyspacesRequest, GetAllKeyspacesResponse, KeyspaceMeta, KeyspaceState,
    LoadKeyspaceRequest, LoadKeyspaceResponse,
};
use tonic::{Request, Response, Status};

/// The service.
pub(crate) struct KeyspaceService<B> {
    pd: PdService<B>,
}

impl<B: Backend> KeyspaceService<B> {
    /// Asks the placement driver through `pd`.
    pub(crate) fn new(pd: PdService<B>) -> Self {
        Self { pd }
    }
}

fn meta(keyspace: Keyspace) -> KeyspaceMeta {
    KeyspaceMeta {
        id: keyspace.id.get(),
        name: keyspace.name,
        state: KeyspaceState::Enabled as i32,
        ..Default::default()
    }
}

#[tonic::async_trait]
impl<B: Backend> KeyspaceRpc for KeyspaceService<B> {
    async fn load_keyspace(
        &self,
        request: Request<LoadKeyspaceRequest>,
    ) -> Result<Response<LoadKeyspaceResponse>, Status> {
        let request = request.into_inner();
        self.pd.check(request.header.as_ref())?;
        let result = self.pd.ask(Ask::LoadKeyspace { name: request.name }).await;
        self.pd
            .finish(result, |answer, response: &mut LoadKeyspaceResponse| {
                let Answer::Keyspace(keyspace) = answer else {
                    return None;
                };
                response.keyspace = Some(meta(keyspace));
                Some(())
            })
    }

    async fn get_all_keyspaces(
        &self,
        request: Request<GetAllKeyspacesRequest>,
    ) -> Result<Response<GetAllKeyspacesResponse>, Status> {
        let request = request.into_inner();
        self.pd.check(request.header.as_ref())?;
        let limit = match request.limit {
            0 => usize::MAX,
            limit => limit as usize,
        };
        let result = self.pd.ask(Ask::GetAllKeyspaces).await;
        self.pd
            .finish(result, |answer, response: &mut GetAllKeyspacesResponse| {
                let Answer::Keyspaces(keyspaces) = answer else {
                    return None;
                };
                let from = |keyspace: &Keyspace| keyspace.id.get() >= request.start_id;
                let chosen = keyspaces.into_iter().filter(from).take(limit);
                response.keyspaces = chosen.map(meta).collect();
                Some(())
            })
    }
}
