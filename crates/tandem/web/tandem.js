// @ts-check
/**
 * tandem.js: phone calls from a web page through a Tandem gateway. One ES module, no dependencies.
 *
 *     import { Tandem } from '/tandem.js';
 *     const tandem = new Tandem({ token });           // a user token of POST /v1/tokens
 *     await tandem.connect();                         // events begin
 *     tandem.on('incoming', (call) => call.answer());
 *     const call = await tandem.call('+442079460123');
 *     call.on('ended', (reason) => console.log(reason.code));
 *
 * Signalling is REST and server-sent events, media is WebRTC: the page always offers, the gateway
 * answers (as WHIP does, RFC 9725).
 */

/**
 * @typedef {object} EndReason
 * @property {string} code        `hangup`, `busy`, `declined`, `no-answer`, `cancelled` …
 * @property {number} [sip]       the final SIP status, where SIP decided
 * @property {number} [q850]      the ITU-T Q.850 cause
 * @property {string} [text]      the carrier's words
 * @property {string} ended_by    `caller`, `callee` or `gateway`
 */

/**
 * @typedef {object} TandemEvent  an event as the gateway sends it; `seq` counts per call from 1
 * @property {number} seq
 * @property {string} time        RFC 3339, UTC, milliseconds
 * @property {string} type        `call.incoming`, `call.ringing`, `call.ended` …
 * @property {string} [call]
 * @property {number} [leg]
 */

/** @typedef {'incoming'|'dialing'|'ringing'|'early-media'|'answered'|'ended'} CallState */

/** What the gateway refused: an RFC 9457 problem document with a stable `code`. */
export class TandemError extends Error {
  /** @param {number} status  @param {any} problem */
  constructor(status, problem) {
    super(problem?.detail || problem?.title || `HTTP ${status}`);
    this.name = 'TandemError';
    /** The HTTP status. */
    this.status = status;
    /** The stable code, for example `no-route`. @type {string} */
    this.code = problem?.code ?? 'http';
    /** The whole problem document. */
    this.problem = problem;
  }
}

/** `on(type, handler)` with the detail as argument; returns a function that takes the handler off. */
class Emitter {
  #handlers = /** @type {Map<string, Set<Function>>} */ (new Map());

  /** @param {string} type  @param {(detail: any) => void} handler  @returns {() => void} */
  on(type, handler) {
    const set = this.#handlers.get(type) ?? new Set();
    this.#handlers.set(type, set.add(handler));
    return () => set.delete(handler);
  }

  /** @param {string} type  @param {any} [detail] */
  emit(type, detail) {
    for (const handler of this.#handlers.get(type) ?? []) {
      handler(detail);
    }
  }
}

/**
 * A user's connection to the gateway.
 *
 * Emits `incoming` (a {@link Call}), `event` (every {@link TandemEvent}) and `connection`
 * (`'connecting'`, `'connected'`, `'disconnected'`).
 */
export class Tandem extends Emitter {
  /** @type {Map<string, Call>} */
  #calls = new Map();
  #lastEventId = '';
  #stop = /** @type {AbortController|null} */ (null);
  #iceServers = /** @type {RTCIceServer[]} */ ([]);

  /** @param {{token: string, baseUrl?: string}} options  `baseUrl` "" is the page's own gateway */
  constructor({ token, baseUrl = '' }) {
    super();
    this.token = token;
    this.baseUrl = baseUrl.replace(/\/$/, '');
  }

  /**
   * Makes a user token with an api key. For trying things out: a real application keeps its api key
   * on its server and hands out tokens from there.
   * @param {{apiKey: string, user: string, baseUrl?: string}} options
   * @returns {Promise<Tandem>}
   */
  static async logIn({ apiKey, user, baseUrl = '' }) {
    const { token } = await new Tandem({ token: apiKey, baseUrl }).request('POST', '/v1/tokens', { user });
    return new Tandem({ token, baseUrl });
  }

  /** The calls of this page that have not ended. @returns {Call[]} */
  get calls() {
    return [...this.#calls.values()];
  }

  /** Learns the ICE servers and opens the event stream; resolves when events flow. */
  async connect() {
    this.#iceServers = (await this.request('GET', '/v1/ice-servers')).iceServers;
    this.#stop = new AbortController();
    await new Promise((resolve, reject) => this.#follow(this.#stop?.signal, resolve, reject));
  }

  /** Ends the event stream and hangs up what is left. */
  async close() {
    await Promise.allSettled(this.calls.map((call) => call.hangUp()));
    this.#stop?.abort();
  }

  /**
   * Places a call: to `+E.164`, `app:echo` …
   * @param {string} to
   * @param {{from?: string, stream?: MediaStream}} [options]  the microphone is asked for unless `stream` is given
   * @returns {Promise<Call>}
   */
  async call(to, { from, stream } = {}) {
    // The page chooses the id, so that no event comes before the call is known here.
    const id = crypto.randomUUID();
    const call = new Call(this, { id, direction: 'outbound', to, from: from ?? '', state: 'dialing' });
    this.#calls.set(id, call);
    let reply;
    try {
      const offer = await call._offer(stream);
      reply = await this.request('POST', '/v1/calls', { id, to, from, offer });
    } catch (error) {
      call._finish({ code: 'failed', ended_by: 'gateway', text: String(error) });
      throw error;
    }
    await call._accept(reply.answer);
    return call;
  }

  /**
   * One REST request. Rejects with {@link TandemError} for each refusal.
   * @param {string} method  @param {string} path  @param {any} [body]  @param {Record<string, string>} [headers]
   * @returns {Promise<any>} the JSON, or the text of another type
   */
  async request(method, path, body, headers = {}) {
    const isText = typeof body === 'string';
    const response = await fetch(this.baseUrl + path, {
      method,
      headers: {
        Authorization: `Bearer ${this.token}`,
        ...(body === undefined || isText ? {} : { 'Content-Type': 'application/json' }),
        ...headers,
      },
      body: body === undefined || isText ? body : JSON.stringify(body),
    });
    const isJson = /json/.test(response.headers.get('Content-Type') ?? '');
    const content = isJson ? await response.json() : await response.text();
    if (!response.ok) {
      throw new TandemError(response.status, content);
    }
    return content;
  }

  /** @returns {RTCPeerConnection} */
  _peer() {
    return new RTCPeerConnection({ iceServers: this.#iceServers });
  }

  /** @param {Call} call */
  _forget(call) {
    this.#calls.delete(call.id);
  }

  /** Reads the event stream until aborted; reconnects with `Last-Event-ID`, so that nothing is missed. */
  async #follow(signal, opened, failed) {
    for (let wait = 250; !signal.aborted; wait = Math.min(wait * 2, 8000)) {
      this.emit('connection', 'connecting');
      try {
        const response = await fetch(`${this.baseUrl}/v1/events`, {
          signal,
          headers: {
            Authorization: `Bearer ${this.token}`,
            ...(this.#lastEventId ? { 'Last-Event-ID': this.#lastEventId } : {}),
          },
        });
        if (!response.ok || !response.body) {
          throw new TandemError(response.status, await response.json().catch(() => null));
        }
        wait = 250;
        this.emit('connection', 'connected');
        opened();
        await this.#read(response.body);
      } catch (error) {
        if (error instanceof TandemError && error.status < 500) {
          this.emit('connection', 'disconnected');
          failed(error);
          return;
        }
      }
      if (!signal.aborted) {
        this.emit('connection', 'disconnected');
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
  }

  /** @param {ReadableStream<Uint8Array>} body */
  async #read(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done) {
        return;
      }
      text += value;
      const blocks = text.split(/\r?\n\r?\n/);
      text = blocks.pop() ?? '';
      blocks.forEach((block) => this.#take(block));
    }
  }

  /** One block of the stream (WHATWG server-sent events). @param {string} block */
  #take(block) {
    let data = '';
    for (const line of block.split(/\r?\n/)) {
      if (line.startsWith('id:')) {
        this.#lastEventId = line.slice(3).trim();
      } else if (line.startsWith('data:')) {
        data += line.slice(5);
      }
    }
    if (data) {
      this.#handle(JSON.parse(data));
    }
  }

  /** @param {any} event */
  #handle(event) {
    this.emit('event', event);
    if (event.type === 'call.incoming' && !this.#calls.has(event.call)) {
      const { call: id, from, to } = event;
      const call = new Call(this, { id, direction: 'inbound', from, to, state: 'incoming' });
      this.#calls.set(id, call);
      this.emit('incoming', call);
    }
    this.#calls.get(event.call)?._handle(event);
  }
}

/**
 * One call of this page.
 *
 * Emits `state` (a {@link CallState}), `digit` (`{digit, duration_ms}`), `quality` (figures each
 * 5 s), `track` (the other side's MediaStream) and `ended` (an {@link EndReason}), exactly once.
 */
export class Call extends Emitter {
  #tandem;
  #candidates = /** @type {string[]} */ ([]);
  #ownsMicrophone = false;

  /** @param {Tandem} tandem  @param {{id?: string, direction: 'inbound'|'outbound', from: string, to: string, state: CallState}} call */
  constructor(tandem, { id = '', direction, from, to, state }) {
    super();
    this.#tandem = tandem;
    this.id = id;
    this.direction = direction;
    this.from = from;
    this.to = to;
    /** @type {CallState} */
    this.state = state;
    this.muted = false;
    /** When both sides were joined. @type {Date|null} */
    this.answeredAt = null;
    /** What the other side says. @type {MediaStream|null} */
    this.remoteStream = null;
    /** The microphone. @type {MediaStream|null} */
    this.localStream = null;
    /** @type {RTCPeerConnection|null} */
    this.peer = null;
    /** @type {EndReason|null} */
    this.reason = null;
    /** The last quality figures by leg. @type {Map<number, any>} */
    this.quality = new Map();
  }

  /** Tells the caller that it rings here (SIP 180). */
  async ring() {
    await this.#post('ring');
  }

  /** Answers an incoming call. @param {{stream?: MediaStream}} [options] */
  async answer({ stream } = {}) {
    try {
      const offer = await this._offer(stream);
      const { answer } = await this.#post('answer', { offer });
      await this._accept(answer);
    } catch (error) {
      this.#release();
      throw error;
    }
  }

  /** Refuses an incoming call: 603, or for example 486 for busy. @param {number} [code] */
  async reject(code) {
    await this.#post('reject', code ? { code } : {});
  }

  /** Ends the call, whatever its state. */
  async hangUp() {
    if (this.state !== 'ended' && this.id) {
      await this.#tandem.request('DELETE', `/v1/calls/${this.id}`);
    }
  }

  /** Stops passing the own voice on, at the gateway and here. */
  async mute() {
    await this.#setMuted(true);
  }

  /** The reverse of {@link Call.mute}. */
  async unmute() {
    await this.#setMuted(false);
  }

  /** Sends digits to the phone. @param {string} digits  of `0-9*#A-D` */
  async sendDigits(digits) {
    await this.#post('dtmf', { digits });
  }

  /** The call's SIP and REST ladder, as text. @returns {Promise<string>} */
  async ladder() {
    return this.#tandem.request('GET', `/v1/calls/${this.id}/ladder`, undefined, { Accept: 'text/plain' });
  }

  /** What the browser measures: codec, loss, jitter and round trip of its own connection. */
  async statistics() {
    const figures = { codec: '', packetsLost: 0, packetsReceived: 0, jitterMs: 0, roundTripMs: 0 };
    const report = this.peer ? await this.peer.getStats() : new Map();
    report.forEach((item) => {
      if (item.type === 'inbound-rtp' && item.kind === 'audio') {
        figures.codec = report.get(item.codecId)?.mimeType?.replace('audio/', '') ?? '';
        figures.packetsLost = item.packetsLost ?? 0;
        figures.packetsReceived = item.packetsReceived ?? 0;
        figures.jitterMs = (item.jitter ?? 0) * 1000;
      } else if (item.type === 'candidate-pair' && item.nominated) {
        figures.roundTripMs = (item.currentRoundTripTime ?? 0) * 1000;
      }
    });
    return figures;
  }

  /** @param {MediaStream} [stream]  @returns {Promise<string>} the SDP offer */
  async _offer(stream) {
    this.#ownsMicrophone = !stream;
    this.localStream = stream ?? (await navigator.mediaDevices.getUserMedia({ audio: true }));
    const peer = (this.peer = this.#tandem._peer());
    for (const track of this.localStream.getAudioTracks()) {
      peer.addTrack(track, this.localStream);
    }
    peer.ontrack = ({ streams, track }) => {
      this.remoteStream = streams[0] ?? new MediaStream([track]);
      this.emit('track', this.remoteStream);
    };
    peer.onicecandidate = ({ candidate }) => this.#trickle(candidate);
    await peer.setLocalDescription(await peer.createOffer());
    return peer.localDescription?.sdp ?? '';
  }

  /** @param {string} answer */
  async _accept(answer) {
    await this.peer?.setRemoteDescription({ type: 'answer', sdp: answer });
    const early = this.#candidates.splice(0);
    if (early.length > 0) {
      this.#sendCandidates(early);
    }
  }

  /** @param {any} event */
  _handle(event) {
    switch (event.type) {
      case 'call.dialing':
        return this.#become('dialing');
      case 'call.ringing':
        return this.#become('ringing');
      case 'call.early_media':
        return this.#become('early-media');
      case 'call.answered':
        this.answeredAt ??= new Date(event.time);
        return this.#become('answered');
      case 'call.dtmf':
        return this.emit('digit', event);
      case 'call.quality':
        this.quality.set(event.leg, event);
        return this.emit('quality', event);
      case 'call.ended':
        return this._finish(event.reason);
      default:
        return undefined;
    }
  }

  /** @param {EndReason} reason */
  _finish(reason) {
    if (this.state !== 'ended') {
      this.reason = reason;
      this.#release();
      this.#become('ended');
      this.emit('ended', reason);
      this.#tandem._forget(this);
    }
  }

  #release() {
    this.peer?.close();
    if (this.#ownsMicrophone) {
      this.localStream?.getTracks().forEach((track) => track.stop());
    }
  }

  /** @param {CallState} state */
  #become(state) {
    if (this.state !== state && this.state !== 'ended') {
      this.state = state;
      this.emit('state', state);
    }
  }

  /** @param {string} what  @param {any} [body] */
  #post(what, body) {
    return this.#tandem.request('POST', `/v1/calls/${this.id}/${what}`, body ?? {});
  }

  /** @param {boolean} muted */
  async #setMuted(muted) {
    await this.#post(muted ? 'mute' : 'unmute');
    this.muted = muted;
    this.localStream?.getAudioTracks().forEach((track) => (track.enabled = !muted));
    this.emit('state', this.state);
  }

  /** Candidates found before the call has an answer wait for it. @param {RTCIceCandidate|null} candidate */
  #trickle(candidate) {
    if (!candidate?.candidate) {
      return;
    }
    if (this.id && this.peer?.remoteDescription) {
      this.#sendCandidates([candidate.candidate]);
    } else {
      this.#candidates.push(candidate.candidate);
    }
  }

  /** Trickle by RFC 8840 fragments; the gateway learns a path from checks too, so a failure is not the call's. */
  #sendCandidates(candidates) {
    const sdp = this.peer?.localDescription?.sdp ?? '';
    const credentials = ['ice-ufrag', 'ice-pwd'].map((name) => sdp.match(new RegExp(`^a=${name}:.*$`, 'm'))?.[0]);
    const fragment = [...credentials, 'm=audio 9 UDP/TLS/RTP/SAVPF 0', 'a=mid:0', ...candidates.map((c) => `a=${c}`)];
    this.#tandem
      .request('PATCH', `/v1/calls/${this.id}/sdp`, `${fragment.join('\r\n')}\r\n`, {
        'Content-Type': 'application/trickle-ice-sdpfrag',
      })
      .catch((error) => console.debug('trickle:', error.message));
  }
}
