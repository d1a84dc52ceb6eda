package jupiterone

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/oktasync/oktasync/sync/sink"
)

// memory is what Note.Data holds.
type memory struct {
	// To whom the rest applies: with another account or scope nothing is known.
	Account string `json:"account"`
	BaseURL string `json:"baseURL"`
	Scope   string `json:"scope"`

	Job *openJob `json:"job,omitempty"` // not known to have ended

	// What the last full job delivered.
	Entities      int       `json:"entities,omitempty"`
	Relationships int       `json:"relationships,omitempty"`
	FullAt        time.Time `json:"fullAt,omitzero"`

	EndedAt time.Time `json:"endedAt,omitzero"` // the last job
	Owed    owed      `json:"owed,omitzero"`
	Types   []string  `json:"types,omitempty"` // seen beside those of the model
}

// openJob is a job that may still be open.
type openJob struct {
	ID            string `json:"id"`
	Phase         phase  `json:"phase"`
	Full          bool   `json:"full,omitempty"`
	Entities      int    `json:"entities"`
	Relationships int    `json:"relationships"`
}

type phase string

const (
	uploading  phase = "uploading"
	finalizing phase = "finalizing" // or about to be finalized
)

// owed is what deltas left to the next full job.
type owed struct {
	Deletes       int       `json:"deletes,omitempty"`
	Relationships int       `json:"relationships,omitempty"` // whose ends JupiterOne did not find
	Since         time.Time `json:"since,omitzero"`          // the oldest of these
	People        int       `json:"people,omitempty"`        // updates
}

// state is the memory of an instance, loaded.
type state struct {
	in   sink.Instance
	note sink.Note
	memory
}

// load returns what is remembered of an instance, or an error if it is not for us.
func (s *Sink) load(ctx context.Context, in sink.Instance) (*state, error) {
	if in.AccountID != "" && in.AccountID != s.cfg.Account {
		return nil, sink.Permanent(fmt.Errorf("the instance is of the JupiterOne account %q, and the API key of %q: nothing is uploaded into another's account; correct the instance's accountId or the account that is configured", in.AccountID, s.cfg.Account))
	}
	if in.OrgHost == "" {
		return nil, sink.Permanent(fmt.Errorf("the instance %q has no Okta org: its scope in JupiterOne has no name", in.ID))
	}
	fresh := memory{Account: s.cfg.Account, BaseURL: s.cfg.BaseURL, Scope: "okta:" + in.OrgHost}
	st := &state{in: in}
	var err error
	if st.note, err = in.Memory.Load(ctx); err != nil {
		return nil, fmt.Errorf("load what is remembered of JupiterOne: %w", err)
	}
	if len(st.note.Data) == 0 {
		st.memory = fresh
		return st, nil
	}
	if err := json.Unmarshal(st.note.Data, &st.memory); err != nil {
		return nil, sink.Permanent(fmt.Errorf("what is remembered of JupiterOne cannot be read: %w: another version of oktasync wrote it; run that one", err))
	}
	if st.Account != fresh.Account || st.BaseURL != fresh.BaseURL || st.Scope != fresh.Scope {
		s.cfg.Log.Warn("JupiterOne's account, URL or scope is another than before: what was delivered there stays, and all is delivered here",
			"instance", in.ID, "accountBefore", st.Account, "scopeBefore", st.Scope)
		st.memory, st.note = fresh, sink.Note{}
	}
	return st, nil
}

// save keeps the state. It fails once another process works for the instance.
func (st *state) save(ctx context.Context) error {
	data, err := json.Marshal(st.memory)
	if err == nil {
		st.note.Data = data
		err = st.in.Memory.Save(ctx, st.note)
	}
	if err != nil {
		return fmt.Errorf("remember the job: %w", err)
	}
	return nil
}

// delivered takes in that a job ended well.
func (st *state) delivered(j openJob, now time.Time) {
	st.Job, st.EndedAt = nil, now
	if j.Full {
		st.Entities, st.Relationships, st.FullAt = j.Entities, j.Relationships, now
	}
}
