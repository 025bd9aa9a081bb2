//! What HTTP handlers ask: commands and trunk states go to the loop, ladders are drawn here.

use std::sync::Arc;

use tandem_api::Ladder;
use tandem_b2bua::{CallId, Command, Reply};
use tokio::sync::{Semaphore, mpsc};

use crate::{
    http::gateway::Request,
    ladder::{Leg, Recorder},
    shard::{Handle, Input},
    store::{CdrQuery, Store},
};

/// Ladders drawn at once: each searches the whole ring, and a processor is needed for calls. Those
/// that wait longer than a handler does were given up, and are passed over.
const LADDERS: usize = 2;

/// Passes requests on until the last handler's end is gone.
pub(super) async fn serve(
    mut requests: mpsc::Receiver<Request>,
    handle: Handle,
    recorder: Recorder,
    store: Store,
) {
    let drawing = Arc::new(Semaphore::new(LADDERS));
    while let Some(request) = requests.recv().await {
        let input = match request {
            Request::Command { user, command, reply } => Input::Command { reply, user, command },
            Request::Trunks { reply } => Input::Trunks(reply),
            Request::Ladder { call, reply } => {
                let (handle, recorder, store) = (handle.clone(), recorder.clone(), store.clone());
                let turn = Arc::clone(&drawing);
                tokio::spawn(async move {
                    // It is never closed.
                    let Ok(_turn) = turn.acquire_owned().await else { return };
                    // The client may have hung up its request.
                    if !reply.is_closed() {
                        drop(reply.send(ladder(call, &handle, recorder, &store).await));
                    }
                });
                continue;
            }
        };
        if handle.send(input).await.is_err() {
            return;
        }
    }
}

/// The ladder of a call, its SIP legs known from the live call or from its record.
async fn ladder(
    call: String,
    handle: &Handle,
    recorder: Recorder,
    store: &Store,
) -> Option<Ladder> {
    let legs = match live(&call, handle).await {
        Some(legs) => legs,
        None => past(&call, store).await,
    };
    // Searching a full ring takes tens of milliseconds.
    let drawn = tokio::task::spawn_blocking(move || recorder.ladder(&call, &legs));
    drawn.await.ok().flatten()
}

async fn live(call: &str, handle: &Handle) -> Option<Vec<Leg>> {
    let command = Command::Get { call: CallId(call.into()) };
    match handle.command(None, command).await {
        Ok(Reply::Call(view)) => {
            let legs = view.legs.into_iter();
            Some(legs.filter_map(|l| leg(l.id.0, l.trunk, l.sip_call_id)).collect())
        }
        Ok(
            Reply::Refused(_)
            | Reply::Dialed { .. }
            | Reply::Answered { .. }
            | Reply::Playing { .. }
            | Reply::Done
            | Reply::Calls(_),
        )
        | Err(_) => None,
    }
}

async fn past(call: &str, store: &Store) -> Vec<Leg> {
    let query = CdrQuery { call: Some(call.to_owned()), limit: 1, ..CdrQuery::default() };
    let found = match store.query(query).await {
        Ok(found) => found.cdrs,
        Err(error) => {
            tracing::error!(%error, "no record for a ladder");
            Vec::new()
        }
    };
    let legs = found.into_iter().flat_map(|cdr| cdr.legs);
    legs.filter_map(|l| leg(l.leg, l.trunk, l.sip_call_id)).collect()
}

fn leg(id: u16, trunk: Option<String>, sip_call_id: Option<String>) -> Option<Leg> {
    let peer = trunk.unwrap_or_else(|| "carrier".to_owned());
    Some(Leg { id, sip_call_id: sip_call_id?, peer })
}
