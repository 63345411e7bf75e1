// Who is signed in. Credentials are kept in the tab's session storage only: they end with it, and no other tab has them.

const KEY = "switchyard.credentials";
const PENDING = "switchyard.sign-in";

/** What the deployment says of itself: `auth` (api-key, cognito or iam), `signInUrl`, `clientId`. */
export const deployment = JSON.parse(document.querySelector("meta[name=deployment]").content);

function stored() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}

function keep(found) {
  sessionStorage.setItem(KEY, JSON.stringify(found));
}

/** Whether requests carry credentials, or need none: a proxy on this machine signs them. */
export function isSignedIn() {
  return deployment.auth === "iam" || Boolean(stored().key || stored().idToken);
}

export function signOut() {
  sessionStorage.removeItem(KEY);
}

export function useKey(key) {
  keep({ key });
}

/** The headers that say who calls. */
export function credentials() {
  const { key, idToken } = stored();
  if (key) return { "x-api-key": key };
  return idToken ? { authorization: idToken } : {};
}

/** The user's id, if a user is signed in. */
export function userId() {
  return claims(stored().idToken).sub;
}

function claims(token) {
  try {
    const bytes = Uint8Array.from(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return {};
  }
}

// ---- Cognito: the authorization code flow with PKCE (RFC 7636) ----

const here = () => location.origin + location.pathname;

function encoded(bytes) {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Leads to the user pool's sign-in page, which leads back here with a code. */
export async function goToSignIn() {
  const [verifier, state] = [0, 1].map(() => encoded(crypto.getRandomValues(new Uint8Array(32))));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  sessionStorage.setItem(PENDING, JSON.stringify({ verifier, state, hash: location.hash }));
  const asked = new URLSearchParams({
    response_type: "code",
    client_id: deployment.clientId,
    redirect_uri: here(),
    scope: "openid",
    state,
    code_challenge: encoded(new Uint8Array(digest)),
    code_challenge_method: "S256",
  });
  location.assign(`${deployment.signInUrl}/oauth2/authorize?${asked}`);
}

/**
 * Exchanges the code in the address for tokens, if there is one, and takes it out of the address first.
 *
 * Throws if the sign-in failed, or was not begun in this tab.
 */
export async function finishSignIn() {
  const query = new URLSearchParams(location.search);
  if (!query.has("code") && !query.has("error")) return;
  const pending = JSON.parse(sessionStorage.getItem(PENDING)) ?? {};
  sessionStorage.removeItem(PENDING);
  history.replaceState(null, "", location.pathname + (pending.hash ?? ""));
  if (!query.has("code") || !pending.state || query.get("state") !== pending.state) throw new Error("sign-in failed");
  await fetchTokens({
    grant_type: "authorization_code",
    code: query.get("code"),
    redirect_uri: here(),
    code_verifier: pending.verifier,
  });
}

let renewing = null;

/** Gets a new id token; whether that succeeded. Several callers at once get the same one. */
export function renew() {
  const { refreshToken } = stored();
  if (!refreshToken) return Promise.resolve(false);
  renewing ??= fetchTokens({ grant_type: "refresh_token", refresh_token: refreshToken })
    .then(() => true, () => false)
    .finally(() => (renewing = null));
  return renewing;
}

async function fetchTokens(given) {
  const answer = await fetch(`${deployment.signInUrl}/oauth2/token`, {
    method: "POST",
    body: new URLSearchParams({ client_id: deployment.clientId, ...given }),
    credentials: "omit",
  });
  if (!answer.ok) throw new Error("sign-in failed");
  const found = await answer.json();
  keep({ idToken: found.id_token, refreshToken: found.refresh_token ?? stored().refreshToken });
}
