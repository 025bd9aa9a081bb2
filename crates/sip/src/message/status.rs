//! Response codes (RFC 3261 §21 and the registry since).

/// A response status, 100 to 699.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatusCode(u16);

impl StatusCode {
    /// 100.
    pub const TRYING: Self = Self(100);
    /// 180.
    pub const RINGING: Self = Self(180);
    /// 183.
    pub const SESSION_PROGRESS: Self = Self(183);
    /// 200.
    pub const OK: Self = Self(200);
    /// 400.
    pub const BAD_REQUEST: Self = Self(400);
    /// 408.
    pub const REQUEST_TIMEOUT: Self = Self(408);
    /// 481.
    pub const NO_SUCH_CALL: Self = Self(481);
    /// 482.
    pub const LOOP_DETECTED: Self = Self(482);
    /// 486.
    pub const BUSY_HERE: Self = Self(486);
    /// 487.
    pub const REQUEST_TERMINATED: Self = Self(487);
    /// 491.
    pub const REQUEST_PENDING: Self = Self(491);
    /// 500.
    pub const SERVER_ERROR: Self = Self(500);
    /// 501.
    pub const NOT_IMPLEMENTED: Self = Self(501);
    /// 503.
    pub const SERVICE_UNAVAILABLE: Self = Self(503);
    /// 505.
    pub const VERSION_NOT_SUPPORTED: Self = Self(505);
    /// 513.
    pub const MESSAGE_TOO_LARGE: Self = Self(513);

    /// `None` outside 100..=699 (RFC 4475 §3.1.2.19).
    pub fn new(code: u16) -> Option<Self> {
        (100..700).contains(&code).then_some(Self(code))
    }

    /// The number.
    pub fn code(self) -> u16 {
        self.0
    }

    /// 100..=199.
    pub fn is_provisional(self) -> bool {
        self.0 < 200
    }

    /// 200..=299.
    pub fn is_success(self) -> bool {
        (200..300).contains(&self.0)
    }

    /// What the status counts as: an unknown final one is the x00 of its class, an unknown provisional
    /// one 183 (RFC 3261 §8.1.3.2).
    pub fn understood(self) -> Self {
        let class = Self(self.0 / 100 * 100);
        match self.0 {
            0..=100 | 180..=183 | 199 => self,
            101..=198 => Self(183),
            200..=299 => self,
            300.. if self.reason() == class.reason() => class,
            300.. => self,
        }
    }

    /// The reason phrase of RFC 3261 §21 and later; of the class (x00) when unknown.
    pub fn reason(self) -> &'static str {
        match self.0 {
            100 => "Trying",
            180 => "Ringing",
            181 => "Call Is Being Forwarded",
            182 => "Queued",
            183 => "Session Progress",
            199 => "Early Dialog Terminated",
            202 => "Accepted",
            204 => "No Notification",
            300..400 => redirection(self.0),
            400..500 => client_failure(self.0),
            500..600 => server_failure(self.0),
            600.. => global_failure(self.0),
            ..200 => "Trying",
            _ => "OK",
        }
    }
}

fn redirection(code: u16) -> &'static str {
    match code {
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        _ => "Multiple Choices",
    }
}

fn client_failure(code: u16) -> &'static str {
    match code {
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        412 => "Conditional Request Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        417 => "Unknown Resource-Priority",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        428 => "Use Identity Header",
        429 => "Provide Referrer Identity",
        430 => "Flow Failed",
        433 => "Anonymity Disallowed",
        436 => "Bad Identity-Info",
        437 => "Unsupported Credential",
        438 => "Invalid Identity Header",
        439 => "First Hop Lacks Outbound Support",
        440 => "Max-Breadth Exceeded",
        469 => "Bad Info Package",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        494 => "Security Agreement Required",
        _ => "Bad Request",
    }
}

fn server_failure(code: u16) -> &'static str {
    match code {
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        580 => "Precondition Failure",
        _ => "Server Internal Error",
    }
}

fn global_failure(code: u16) -> &'static str {
    match code {
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        607 => "Unwanted",
        608 => "Rejected",
        _ => "Busy Everywhere",
    }
}
