package okta

import "time"

// Event is an event of the org: the parts of a LogEvent that oktasync uses, the
// same from a hook and from the System Log. Client, device and display texts
// are personal data that nothing here needs: they are not decoded.
type Event struct {
	UUID      string    `json:"uuid"`
	Published time.Time `json:"published"`
	Type      string    `json:"eventType"`
	Actor     Target    `json:"actor"`
	Targets   []Target  `json:"target,omitempty"`
	Outcome   Outcome   `json:"outcome"`
	// RequestURI is debugContext.debugData.requestUri, which at times is all
	// that names the object.
	RequestURI string `json:"requestUri,omitempty"`
}

// Target is an object that an event names.
type Target struct {
	ID   string `json:"id"`
	Type string `json:"type"`
}

// Outcome is how what the event tells of ended.
type Outcome struct {
	Result string `json:"result"`
	Reason string `json:"reason,omitempty"`
}

// Delivery is the body of one event hook request.
type Delivery struct {
	EventID string
	Time    time.Time // eventTime: when it was made; zero if that cannot be read
	Events  []Event
	// Bad are the events that could not be understood, with the reason.
	Bad []BadEvent
}

// BadEvent is an event that could not be understood.
type BadEvent struct {
	UUID   string // if it has a readable one
	Raw    []byte // the event as Okta sent it
	Reason string
}
