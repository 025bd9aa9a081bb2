//! `/v1/calls/{id}/play`.
use axum::{
    Json as Answered,
    extract::{Path, State},
    http::StatusCode,
};
use tandem_api::{Code, PlayCall, PlayWhat, Playing};
use tandem_b2bua::{
    Command, LegId, Reply,
    command::{Play, Sound},
};
use tandem_media::Clip;
use tandem_proxy::App;

use super::{
    Shared,
    access::{Caller, scope},
    body::Json,
    calls::{Result, ask, call_id, done, unexpected},
    problem::Refused,
};
use crate::sounds::Trouble;

/// Play a sound
///
/// A recording of the sound folder or a tone, to one leg or to all parties of an answered call, in
/// place of the other side. `playback.started` and `playback.finished` tell of it, per leg. Another
/// one takes its place.
#[utoipa::path(post, path = "/v1/calls/{id}/play", tag = "calls", operation_id = "playSound",
    params(("id" = String, Path, description = "The call")), request_body = PlayCall,
    responses((status = 200, description = "The sound plays", body = Playing)))]
pub(super) async fn start(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<PlayCall>,
) -> Result<Answered<Playing>> {
    scope(&caller, tandem_api::Scope::Calls)?;
    let call = call_id(id)?;
    let sound = match body.what().map_err(Refused::invalid)? {
        PlayWhat::Tone(tone) => Sound::Tone(tone),
        PlayWhat::File(name) => Sound::Clip(load(&app, name).await?),
    };
    let play = Play {
        leg: body.leg.map(LegId),
        sound,
        repeats: body.repeat,
        gain: body.gain_db,
        barge_in: body.barge_in,
    };
    let reply = ask(&app, &caller, Command::Play { call, play }).await?;
    let Reply::Playing { playback, legs } = reply else { return Err(unexpected(&reply)) };
    Ok(Answered(Playing { playback, legs: legs.iter().map(|leg| leg.0).collect() }))
}

/// Stop what is played
#[utoipa::path(delete, path = "/v1/calls/{id}/play", tag = "calls", operation_id = "stopSound",
    params(("id" = String, Path, description = "The call")),
    responses((status = 204, description = "All parties hear each other again")))]
pub(super) async fn stop(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    done(&app, &caller, Command::StopPlay { call: call_id(id)?, leg: None }).await
}

/// The recording that a call to `app:play/FILE` is to hear.
pub(super) async fn announcement(app: &Shared, to: &str) -> Result<Option<Clip>> {
    match to.strip_prefix("app:").map(App::parse) {
        Some(Ok(App::Play { file, .. })) => load(app, file).await.map(Some),
        // What is none is refused where calls are begun.
        Some(Ok(App::Echo | App::Tone) | Err(_)) | None => Ok(None),
    }
}

/// Reads and decodes where waiting for a disk holds nothing up.
async fn load(app: &Shared, name: String) -> Result<Clip> {
    let sounds = std::sync::Arc::clone(&app.context.sounds);
    let named = name.clone();
    let loaded = tokio::task::spawn_blocking(move || sounds.load(&named)).await;
    let loaded = loaded.map_err(|error| {
        tracing::error!(%error, "a recording could not be loaded");
        Refused::of(Code::Internal)
    })?;
    loaded.map_err(|trouble| match trouble {
        Trouble::Name(what) => Refused::invalid(format!("`file`: {what}")),
        Trouble::Missing => Refused::new(
            Code::SoundNotFound,
            format!("There is no file {name:?} in the sound folder."),
        ),
        Trouble::Unusable(why) => Refused::new(Code::BadSound, format!("{name}: {why}.")),
    })
}
