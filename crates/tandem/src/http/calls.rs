//! `/v1/calls`.
use std::time::Duration;

use axum::{
    Json as Answered,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use tandem_api::{
    Answer, AnswerCall, Call, CallCreated, Calls, Code, DialCall, Empty, Ladder, RejectCall, Scope,
    SendDtmf, TransferCall, call::valid_call_id, trickle,
};
use tandem_b2bua::{CallId, Command, Reply};

use super::{
    Shared,
    access::{Caller, scope},
    body::{self, Json, OptionalJson, must_be},
    problem::Refused,
};
use crate::{auth::Principal, store::CdrQuery};

/// A digit when nothing else is asked for.
const DIGIT: Duration = Duration::from_millis(100);

pub(super) type Result<T> = std::result::Result<T, Refused>;

/// What an id in a path must be before anything is asked about it.
pub(super) fn call_id(id: String) -> Result<CallId> {
    if valid_call_id(&id) { Ok(CallId(id.into())) } else { Err(Refused::of(Code::CallNotFound)) }
}

pub(super) async fn ask(app: &Shared, principal: &Principal, command: Command) -> Result<Reply> {
    scope(principal, Scope::Calls)?;
    Ok(app.context.gateway.command(principal.user(), command).await?)
}

/// A command whose answer is that it was done.
pub(super) async fn done(
    app: &Shared,
    principal: &Principal,
    command: Command,
) -> Result<StatusCode> {
    let reply = ask(app, principal, command).await?;
    if reply == Reply::Done { Ok(StatusCode::NO_CONTENT) } else { Err(unexpected(&reply)) }
}

/// A reply of another command: a mistake of ours.
pub(super) fn unexpected(reply: &Reply) -> Refused {
    tracing::error!(?reply, "the signalling loop answered another question");
    Refused::of(Code::Internal)
}

/// Place a call
///
/// To a number by the dial routes, to a user, or to a built-in application. With an `offer` the
/// client's own media joins the call, and the answer has the SDP for it.
#[utoipa::path(post, path = "/v1/calls", tag = "calls", operation_id = "createCall",
    request_body = DialCall,
    responses((status = 201, description = "The call exists; follow its events", body = CallCreated,
        headers(("Location" = String, description = "The call")))))]
pub(super) async fn create(
    State(app): State<Shared>,
    caller: Caller,
    Json(body): Json<DialCall>,
) -> Result<Response> {
    scope(&caller, Scope::Calls)?;
    let mut dial = body.into_dial().map_err(Refused::invalid)?;
    dial.recording = super::play::announcement(&app, &dial.to).await?;
    if let Some(id) = &dial.id {
        // An id names one call for ever: its record and ladder would be another's otherwise.
        let query = CdrQuery { call: Some(id.clone()), limit: 1, ..CdrQuery::default() };
        if !super::cdrs::find(&app, query).await?.cdrs.is_empty() {
            return Err(Refused::of(Code::CallExists));
        }
    }
    let reply = ask(&app, &caller, Command::Dial(dial)).await?;
    let Reply::Dialed { call, view, answer } = reply else { return Err(unexpected(&reply)) };
    let created = CallCreated { call: view.as_ref().into(), answer };
    let mut response = (StatusCode::CREATED, Answered(created)).into_response();
    if let Ok(place) = HeaderValue::try_from(format!("/v1/calls/{}", call.0)) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// List live calls
///
/// An API key sees all calls, a user's token that user's.
#[utoipa::path(get, path = "/v1/calls", tag = "calls", operation_id = "listCalls",
    responses((status = 200, description = "The calls one may see", body = Calls)))]
pub(super) async fn list(State(app): State<Shared>, caller: Caller) -> Result<Answered<Calls>> {
    let reply = ask(&app, &caller, Command::List).await?;
    let Reply::Calls(views) = reply else { return Err(unexpected(&reply)) };
    Ok(Answered(Calls { calls: views.iter().map(Into::into).collect() }))
}

/// Read a live call
#[utoipa::path(get, path = "/v1/calls/{id}", tag = "calls", operation_id = "getCall",
    params(("id" = String, Path, description = "The call")),
    responses((status = 200, description = "The call as it is now", body = Call)))]
pub(super) async fn read(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Answered<Call>> {
    let reply = ask(&app, &caller, Command::Get { call: call_id(id)? }).await?;
    let Reply::Call(view) = reply else { return Err(unexpected(&reply)) };
    Ok(Answered(view.as_ref().into()))
}

/// Hang up
///
/// Ends a call in whatever state it is.
#[utoipa::path(delete, path = "/v1/calls/{id}", tag = "calls", operation_id = "hangUpCall",
    params(("id" = String, Path, description = "The call")),
    responses((status = 204, description = "It is ending; `call.ended` tells when it is over")))]
pub(super) async fn hang_up(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    done(&app, &caller, Command::Hangup { call: call_id(id)? }).await
}

/// Answer an incoming call
///
/// The client offers, the gateway answers, as WHIP does (RFC 9725).
#[utoipa::path(post, path = "/v1/calls/{id}/answer", tag = "calls", operation_id = "answerCall",
    params(("id" = String, Path, description = "The call")), request_body = AnswerCall,
    responses((status = 200, description = "The SDP answer", body = Answer)))]
pub(super) async fn answer(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<AnswerCall>,
) -> Result<Answered<Answer>> {
    let command = Command::Answer { call: call_id(id)?, offer: body.offer };
    let reply = ask(&app, &caller, command).await?;
    let Reply::Answered { answer } = reply else { return Err(unexpected(&reply)) };
    Ok(Answered(Answer { answer }))
}

/// Let the caller hear that it rings
///
/// SIP 180 to the caller.
#[utoipa::path(post, path = "/v1/calls/{id}/ring", tag = "calls", operation_id = "ringCall",
    params(("id" = String, Path, description = "The call")), request_body = Option<Empty>,
    responses((status = 204, description = "The caller is told")))]
pub(super) async fn ring(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalJson(Empty {}): OptionalJson<Empty>,
) -> Result<StatusCode> {
    done(&app, &caller, Command::Ring { call: call_id(id)? }).await
}

/// Refuse an incoming call
#[utoipa::path(post, path = "/v1/calls/{id}/reject", tag = "calls", operation_id = "rejectCall",
    params(("id" = String, Path, description = "The call")), request_body = Option<RejectCall>,
    responses((status = 204, description = "The caller is refused")))]
pub(super) async fn reject(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalJson(body): OptionalJson<RejectCall>,
) -> Result<StatusCode> {
    let code = body.code.map(|code| code.status()).transpose();
    let code = code.map_err(Refused::invalid)?;
    done(&app, &caller, Command::Reject { call: call_id(id)?, code }).await
}

/// Stop passing the application's sound on
#[utoipa::path(post, path = "/v1/calls/{id}/mute", tag = "calls", operation_id = "muteCall",
    params(("id" = String, Path, description = "The call")), request_body = Option<Empty>,
    responses((status = 204, description = "Muted")))]
pub(super) async fn mute(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalJson(Empty {}): OptionalJson<Empty>,
) -> Result<StatusCode> {
    done(&app, &caller, Command::Mute { call: call_id(id)?, muted: true }).await
}

/// Pass the application's sound on again
#[utoipa::path(post, path = "/v1/calls/{id}/unmute", tag = "calls", operation_id = "unmuteCall",
    params(("id" = String, Path, description = "The call")), request_body = Option<Empty>,
    responses((status = 204, description = "Not muted")))]
pub(super) async fn unmute(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalJson(Empty {}): OptionalJson<Empty>,
) -> Result<StatusCode> {
    done(&app, &caller, Command::Mute { call: call_id(id)?, muted: false }).await
}

/// Hold the phone side
///
/// By a re-INVITE in the trunk's style. Answered when the phone side has agreed, or has said nothing
/// for 4 s; 409 when it refuses. `call.held` tells when it is held.
#[utoipa::path(post, path = "/v1/calls/{id}/hold", tag = "calls", operation_id = "holdCall",
    params(("id" = String, Path, description = "The call")), request_body = Option<Empty>,
    responses((status = 204, description = "Held")))]
pub(super) async fn hold(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalJson(Empty {}): OptionalJson<Empty>,
) -> Result<StatusCode> {
    done(&app, &caller, Command::Hold { call: call_id(id)?, hold: true }).await
}

/// Take the phone side off hold
#[utoipa::path(post, path = "/v1/calls/{id}/resume", tag = "calls", operation_id = "resumeCall",
    params(("id" = String, Path, description = "The call")), request_body = Option<Empty>,
    responses((status = 204, description = "Resumed")))]
pub(super) async fn resume(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalJson(Empty {}): OptionalJson<Empty>,
) -> Result<StatusCode> {
    done(&app, &caller, Command::Hold { call: call_id(id)?, hold: false }).await
}

/// Send digits to the phone
#[utoipa::path(post, path = "/v1/calls/{id}/dtmf", tag = "calls", operation_id = "sendDtmf",
    params(("id" = String, Path, description = "The call")), request_body = SendDtmf,
    responses((status = 204, description = "The digits are queued")))]
pub(super) async fn dtmf(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<SendDtmf>,
) -> Result<StatusCode> {
    body.check().map_err(Refused::invalid)?;
    let duration = body.duration_ms.map_or(DIGIT, |ms| Duration::from_millis(ms.into()));
    let digits = body.digits.to_ascii_uppercase();
    let call = call_id(id)?;
    done(&app, &caller, Command::Dtmf { call, digits, duration: Some(duration) }).await
}

/// Transfer the phone to another number
///
/// Whoever asks leaves the call when the new party answers; until then nothing changes.
/// `call.transfer` tells how it ends. By SIP REFER where the trunk and the phone take it, otherwise
/// the gateway places the new call itself.
///
/// With `consult` the phone waits, and whoever asks speaks with the new party first; `…/complete`
/// ends that.
#[utoipa::path(post, path = "/v1/calls/{id}/transfer", tag = "calls", operation_id = "transferCall",
    params(("id" = String, Path, description = "The call")), request_body = TransferCall,
    responses((status = 202, description = "The transfer has begun")))]
pub(super) async fn transfer(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<TransferCall>,
) -> Result<StatusCode> {
    body.check().map_err(Refused::invalid)?;
    let TransferCall { to, consult } = body;
    let command = Command::Transfer { call: call_id(id)?, to, consult };
    done(&app, &caller, command).await.map(|_| StatusCode::ACCEPTED)
}

/// Leave the phone to the party that was consulted
///
/// After `transfer` with `consult`; also before the new party has answered, then the phone hears it
/// ring. By SIP REFER with Replaces where both are of one carrier and it takes that, otherwise the
/// gateway joins the two itself. `call.transfer` tells how it ends.
#[utoipa::path(post, path = "/v1/calls/{id}/transfer/complete", tag = "calls",
    operation_id = "completeTransfer", params(("id" = String, Path, description = "The call")),
    responses((status = 202, description = "The phone is being joined with the new party")))]
pub(super) async fn complete_transfer(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    let command = Command::CompleteTransfer { call: call_id(id)? };
    done(&app, &caller, command).await.map(|_| StatusCode::ACCEPTED)
}

/// Take a transfer back
///
/// The new party is called no longer, or hung up, and the phone is back.
#[utoipa::path(delete, path = "/v1/calls/{id}/transfer", tag = "calls",
    operation_id = "cancelTransfer", params(("id" = String, Path, description = "The call")),
    responses((status = 204, description = "All is as before the transfer")))]
pub(super) async fn cancel_transfer(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    done(&app, &caller, Command::CancelTransfer { call: call_id(id)? }).await
}

/// Trickle ICE candidates
///
/// `a=candidate` lines of the client, after `a=ice-ufrag` and `a=ice-pwd` (RFC 8840). The end of
/// candidates alone is taken too.
#[utoipa::path(patch, path = "/v1/calls/{id}/sdp", tag = "calls", operation_id = "trickleCandidates",
    params(("id" = String, Path, description = "The call")),
    request_body(content = String, content_type = "application/trickle-ice-sdpfrag"),
    responses((status = 204, description = "The candidates are taken")))]
pub(super) async fn trickle(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<StatusCode> {
    must_be(request.headers(), trickle::CONTENT_TYPE)?;
    let bytes = body::read(request.into_body()).await?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Refused::invalid("not UTF-8".to_owned()))?;
    let fragment = trickle::parse(text).map_err(Refused::invalid)?;
    let call = call_id(id)?;
    done(&app, &caller, Command::Trickle { call, candidates: fragment.candidates }).await
}

/// Draw a call's ladder
///
/// Every SIP message, REST exchange and event of a live or past call, as far as the gateway's ring
/// still has it; as JSON, or drawn as text with `Accept: text/plain`.
#[utoipa::path(get, path = "/v1/calls/{id}/ladder", tag = "calls", operation_id = "getLadder",
    params(("id" = String, Path, description = "The call")),
    responses((status = 200, description = "The ladder", content(
        (Ladder = "application/json"), (String = "text/plain")))))]
pub(super) async fn ladder(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let call = call_id(id)?;
    may_see(&app, &caller, &call).await?;
    let Some(ladder) = app.context.gateway.ladder(&call.0).await? else {
        return Err(Refused::of(Code::CallNotFound));
    };
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if accept.is_some_and(|accept| accept.trim_start().starts_with("text/plain")) {
        return Ok(ladder.to_text().into_response());
    }
    Ok(Answered(ladder).into_response())
}

/// A user sees a call that is live and theirs, or whose record is theirs.
async fn may_see(app: &Shared, principal: &Principal, call: &CallId) -> Result<()> {
    scope(principal, Scope::Calls)?;
    let Some(user) = principal.user() else { return Ok(()) };
    let live = app.context.gateway.command(Some(user.clone()), Command::Get { call: call.clone() });
    let gone = match live.await {
        Ok(_) => return Ok(()),
        Err(problem) if problem.code == Code::CallNotFound => problem,
        Err(problem) => return Err(problem.into()),
    };
    let query = CdrQuery {
        call: Some(call.0.to_string()),
        user: Some(user),
        limit: 1,
        ..CdrQuery::default()
    };
    let past = super::cdrs::find(app, query).await?;
    if past.cdrs.is_empty() { Err(gone.into()) } else { Ok(()) }
}
