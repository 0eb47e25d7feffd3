//! A user at a cloud: requests to Glance carry the token, and get a new one when it has expired.

use std::cell::RefCell;
use std::time::Duration;

use super::clouds::Cloud;
use super::exchange::{Answer, Exchange, Lost, Request, Stream, Verb};
use super::keystone::{self, Project, Token};
use super::retry::patiently;
use super::secret::Secret;
use crate::monitor::CancellationToken;

/// An authenticated user.
pub(crate) struct Session<'a> {
    exchange: &'a dyn Exchange,
    cloud: &'a Cloud,
    token: RefCell<Token>,
    endpoint: String,
    cancel: CancellationToken,
}

impl<'a> Session<'a> {
    /// Authenticates and finds Glance.
    ///
    /// # Errors
    /// Where Keystone refuses, or its catalog knows no Glance.
    pub(crate) fn open(
        exchange: &'a dyn Exchange,
        cloud: &'a Cloud,
        cancel: &CancellationToken,
    ) -> crate::Result<Self> {
        let token = keystone::authenticate(exchange, cloud, cancel)?;
        let endpoint = token.facts.image_endpoint(cloud)?;
        Ok(Self { exchange, cloud, token: RefCell::new(token), endpoint, cancel: cancel.clone() })
    }

    /// The project the token is good for; none with a domain's or the system's token.
    pub(crate) fn project(&self) -> Option<Project> {
        self.token.borrow().facts.project.clone()
    }

    pub(crate) fn is_dry_run(&self) -> bool {
        self.exchange.is_dry_run()
    }

    /// Waits, unless the work is to stop.
    ///
    /// # Errors
    /// Then.
    pub(crate) fn pause(&self, duration: Duration) -> crate::Result<()> {
        self.exchange.pause(duration);
        self.cancel.check()
    }

    /// A request to Glance; `path` begins with `/v2`.
    pub(crate) fn request(&self, verb: Verb, path: &str) -> Request {
        Request::new(verb, format!("{}{path}", self.endpoint))
    }

    /// Sends a request that may be repeated: after a passing fault, and once more with a new token after a 401.
    ///
    /// # Errors
    /// Where no answer comes; every status is an answer.
    pub(crate) fn call(&self, request: &Request) -> crate::Result<Answer> {
        let answer = patiently(self.exchange, &self.signed(request), &self.cancel)?;
        if answer.status != 401 {
            return Ok(answer);
        }
        self.renew()?;
        patiently(self.exchange, &self.signed(request), &self.cancel)
    }

    /// Sends a request with a stream as its body, once.
    ///
    /// # Errors
    /// Where no answer comes; every status is an answer.
    pub(crate) fn send_stream(&self, request: &Request, stream: Stream<'_>) -> Result<Answer, Lost> {
        self.exchange.send(&self.signed(request), Some(stream))
    }

    /// What requests are signed with.
    pub(crate) fn token(&self) -> Secret {
        self.token.borrow().value.clone()
    }

    /// Authenticates again.
    pub(crate) fn renew(&self) -> crate::Result<()> {
        let fresh = keystone::authenticate(self.exchange, self.cloud, &self.cancel)?;
        self.token.replace(fresh);
        Ok(())
    }

    fn signed(&self, request: &Request) -> Request {
        request.clone().secret_header("X-Auth-Token", &self.token.borrow().value)
    }
}
