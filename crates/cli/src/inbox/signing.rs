//! Getting a wallet's signature: from a key file, from the command line, or from whoever answers.

use std::io::BufRead;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use serde_json::{Value, json};
use tidings_client::{
    AssociationState, Client, IdentityDraft, LocalWallet, WalletForm, WalletRequest,
    WalletSignature,
};
use tidings_types::EthereumAddress;

use crate::output::Output;
use crate::secret_file;

/// How a wallet signs.
#[derive(Debug, Clone, Default, Args)]
pub struct Signing {
    /// The wallet's signature over what was printed before, 65 bytes in hex
    #[arg(long, value_name = "0x…")]
    signature: Option<String>,
    /// A file with the wallet's key, 64 hex digits, mode 0600
    #[arg(long, value_name = "FILE", conflicts_with = "signature")]
    wallet_key_file: Option<PathBuf>,
    /// Have the wallet sign a text (EIP-191) instead of typed data (EIP-712)
    #[arg(long)]
    text: bool,
}

/// How far a change has come.
pub enum Step {
    /// It waits for a signature, and is kept until that comes.
    Waits,
    /// It is certified.
    Done(Box<AssociationState>),
}

impl Signing {
    /// A signature that was made over the change that waits.
    pub fn with_signature(signature: String, text: bool) -> Self {
        Self { signature: Some(signature), wallet_key_file: None, text }
    }

    /// Whether the change begins now; with a signature, it began before.
    pub fn waits_for_signature(&self) -> bool {
        self.signature.is_none()
    }

    /// The wallet whose key is in a file, if one is named.
    ///
    /// # Errors
    /// When the file holds no key.
    pub fn local_wallet(&self) -> Result<Option<LocalWallet>> {
        let Some(file) = &self.wallet_key_file else { return Ok(None) };
        Ok(Some(LocalWallet::from_secret(&*secret_file::read(file)?)?))
    }

    /// Collects the signatures that a draft needs, as far as they are to be had, and publishes it.
    ///
    /// # Errors
    /// When a signature does not fit, or the network refuses.
    pub async fn carry_on(
        &self,
        client: &Client,
        mut draft: IdentityDraft,
        output: Output,
    ) -> Result<Step> {
        client.sign_draft(&mut draft)?;
        if let Some(wallet) = self.local_wallet()? {
            draft.sign_with(&wallet)?;
        }
        let mut given = self.signature.clone();
        while let Some(account) = draft.missing_accounts().first().copied() {
            let signature = match given.take() {
                Some(signature) => Some(signature),
                None => self.ask(client, &draft, account, output).await?,
            };
            let Some(signature) = signature else { return Ok(Step::Waits) };
            draft.attach(account, self.form(), parse(&signature)?)?;
        }
        Ok(Step::Done(Box::new(client.submit(draft).await?)))
    }

    fn form(&self) -> WalletForm {
        if self.text { WalletForm::Text } else { WalletForm::TypedData }
    }

    /// Prints what the wallet has to sign and waits for a line; none at the end of input.
    async fn ask(
        &self,
        client: &Client,
        draft: &IdentityDraft,
        account: EthereumAddress,
        output: Output,
    ) -> Result<Option<String>> {
        client.keep_draft(draft)?;
        let (request, words) = describe(&draft.wallet_request(self.form()))?;
        let answer = json!({ "waits_for": account, "inbox": draft.inbox(), "request": request });
        output.answer(&answer, |_| {
            format!(
                "{words}\n\nLet the wallet {account} sign this, and give the signature here, or \
                 later with `tidings inbox sign{} 0x…`:",
                if self.text { " --text" } else { "" }
            )
        })?;
        let line = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).map(|_| line)
        });
        let line = line.await?.context("cannot read the signature")?;
        Ok(Some(line.trim().to_owned()).filter(|line| !line.is_empty()))
    }
}

/// What a wallet has to sign, for machines and for people.
fn describe(request: &WalletRequest) -> Result<(Value, String)> {
    Ok(match request {
        WalletRequest::TypedData { json: text, digest } => {
            let typed_data: Value = serde_json::from_str(text)?;
            let words = serde_json::to_string_pretty(&typed_data)?;
            let digest = format!("0x{}", hex::encode(digest));
            (json!({ "typed_data": typed_data, "digest": digest }), words)
        }
        WalletRequest::Text { text, digest } => {
            let digest = format!("0x{}", hex::encode(digest));
            (json!({ "text": text, "digest": digest }), text.clone())
        }
    })
}

/// Reads a wallet's signature; a last byte of 0 or 1 stands for 27 or 28.
fn parse(text: &str) -> Result<WalletSignature> {
    let digits = text.trim();
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    let bytes = hex::decode(digits).context("a signature is 65 bytes in hex")?;
    let mut signature: [u8; 65] =
        bytes.try_into().map_err(|_| anyhow!("a signature is 65 bytes in hex"))?;
    if let Some(recovery) = signature.last_mut() {
        ensure!([0, 1, 27, 28].contains(recovery), "a signature ends in 1b or 1c");
        if *recovery < 27 {
            *recovery += 27;
        }
    }
    Ok(WalletSignature(signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(last: &str, expected: Option<u8>) {
        let text = format!("0x{}{last}", "11".repeat(64));
        assert_eq!(parse(&text).ok().map(|signature| signature.0[64]), expected);
    }

    #[test]
    fn both_ways_of_writing_the_recovery_byte_are_read() {
        check("00", Some(27));
        check("1c", Some(28));
        check("02", None);
        check("", None);
        check("1c1c", None);
    }
}
