// Package okta is Okta's side: the client that reads an org, the narrow forms
// of its objects, and the payloads of its event hooks and System Log.
//
// # Reading
//
// The client only reads: any other method is refused before it is sent. Lists
// and reads by id take one path, the request executor of okta-sdk-golang v2
// into this package's structs, so that both tell of an object in the same
// words. Below the SDK lies this package's transport. It sees every attempt and
// alone waits and tries again:
//
//   - Pace. A limiter learns from each answer's X-Rate-Limit headers which
//     calls share a bucket, keeps to the share of its limit, and waits for
//     the next window. A call that waits holds no slot of those in flight. Calls
//     made with [WithPriority] come first and have a reserve.
//   - Retries. 429 waits for the window. A broken connection, 502, 503, 504
//     (and 500, where a smaller page is no way out) back off a few times. What
//     stays wrong is an [Error] or a [RateLimitError], never an answer.
//   - Unknown is never empty. A page is a JSON array that arrived whole, whose
//     every item has an id. Anything else is an error. Redirects are errors.
//   - Time. Okta's clock is the greatest Date of an answer plus what our
//     monotonic clock counted since it came: never ahead of Okta's own. A page
//     or read carries that clock as of the start of the attempt that succeeded.
//
// The token goes to the org's own scheme and host and nowhere else: links are
// checked, the transport checks again, and the dialer refuses private addresses
// unless the configuration allows insecure orgs. No proxy is used.
//
// # Payloads
//
// [ParseDelivery] and [ParseEvent] decode leniently what is not used, and
// strictly what is: an event that could be misunderstood is bad, alone.
package okta
