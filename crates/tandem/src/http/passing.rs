//! What goes beside the sound of a call: sending it on, messages, INFO.
use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use tandem_api::{RedirectCall, SendInfo, SendMessage};
use tandem_b2bua::Command;

use super::{
    Shared,
    access::Caller,
    body::Json,
    calls::{Result, call_id, done},
    problem::Refused,
};

/// Send an incoming call on to another number
///
/// Before it is answered. The caller is told 181, and the next carrier who sent the call on, as its
/// trunk says (History-Info, Diversion). The call goes on from trunk to trunk; its events follow.
#[utoipa::path(post, path = "/v1/calls/{id}/redirect", tag = "calls", operation_id = "redirectCall",
    params(("id" = String, Path, description = "The call")), request_body = RedirectCall,
    responses((status = 202, description = "The other number is being called")))]
pub(super) async fn redirect(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<RedirectCall>,
) -> Result<StatusCode> {
    body.check().map_err(Refused::invalid)?;
    let command = Command::Redirect { call: call_id(id)?, to: body.to };
    done(&app, &caller, command).await.map(|_| StatusCode::ACCEPTED)
}

/// Send a text to the phone
///
/// SIP MESSAGE inside the call (RFC 3428). Answered when the phone has taken it; 409 when it
/// refuses, or does not answer within 32 s.
#[utoipa::path(post, path = "/v1/calls/{id}/message", tag = "calls", operation_id = "sendMessage",
    params(("id" = String, Path, description = "The call")), request_body = SendMessage,
    responses((status = 204, description = "The phone has it")))]
pub(super) async fn message(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<SendMessage>,
) -> Result<StatusCode> {
    let sent = body.into_sent().map_err(Refused::invalid)?;
    done(&app, &caller, Command::Send { call: call_id(id)?, sent }).await
}

/// Send an INFO to the phone
///
/// SIP INFO inside the call (RFC 6086), of a content type or package that the trunk's `info` lists.
/// Answered as a message is.
#[utoipa::path(post, path = "/v1/calls/{id}/info", tag = "calls", operation_id = "sendInfo",
    params(("id" = String, Path, description = "The call")), request_body = SendInfo,
    responses((status = 204, description = "The phone has it")))]
pub(super) async fn info(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<SendInfo>,
) -> Result<StatusCode> {
    let sent = body.into_sent().map_err(Refused::invalid)?;
    done(&app, &caller, Command::Send { call: call_id(id)?, sent }).await
}
