package jupiterone

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/oktasync/oktasync/sync/sink"
)

// abortFor is how long an abort may take, also after the context ended.
const abortFor = 10 * time.Second

// deliver uploads in one job, finalizes it, and waits for its end. Of the partial
// types JupiterOne deletes nothing; if none is named it is a full job. The job is in
// the state as long as it may be open. Before it there is no other: see settle. free
// lets another job begin: this one only waits from then on.
func (s *Sink) deliver(ctx context.Context, st *state, up *upload, partial []string, free func()) (job, error) {
	if up.entities.count()+up.relationships.count() == 0 {
		return job{}, errors.New("a job without uploads would empty the scope, and is not begun")
	}
	j, err := s.api.start(ctx, st.Scope)
	if err != nil {
		return j, fmt.Errorf("start a job: %w", err)
	}
	id := j.ID
	fail := func(err error) error { return fmt.Errorf("job %s: %w", id, err) }
	st.Job = &openJob{id, uploading, len(partial) == 0, up.entities.count(), up.relationships.count()}
	err = st.save(ctx)
	if err == nil {
		err = s.upload(ctx, id, up)
	}
	if err == nil {
		st.Job.Phase = finalizing
		err = st.save(ctx)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		if !refusedAsNotAwaiting(err) {
			s.abort(ctx, id)
		}
		return j, fail(err)
	}
	if err := s.finalize(ctx, id, partial); err != nil {
		return j, fail(err)
	}
	free()
	if j, err = s.wait(ctx, id); err == nil {
		err = failure(j)
	}
	if err != nil {
		return j, fail(err)
	}
	return j, nil
}

// upload uploads entities, then relationships, several batches at once.
func (s *Sink) upload(ctx context.Context, id string, up *upload) error {
	for _, l := range []*list{&up.entities, &up.relationships} {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(s.cfg.Uploads)
		for _, batch := range l.cut {
			g.Go(func() error { return s.uploadBatch(ctx, id, l, batch) })
		}
		if err := g.Wait(); err != nil {
			return fmt.Errorf("upload %s: %w", l.name, err)
		}
	}
	return nil
}

// uploadBatch uploads a batch, in halves if it is too large.
func (s *Sink) uploadBatch(ctx context.Context, id string, l *list, batch section) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	body, err := l.body(batch)
	if err != nil {
		return spoolError(err)
	}
	refused := error(nil)
	if len(body) <= s.cfg.BatchGzip {
		_, err := s.api.jobRequest(ctx, message{
			method: http.MethodPost, url: "/" + id + "/" + l.name, body: body,
			header: http.Header{"Content-Encoding": {"gzip"}, "Jupiterone-Correlation-Id": {uuid()}},
		})
		if !refusedAsLarge(err) {
			return err
		}
		refused = err
	}
	a, b, key, ok, err := l.halves(batch)
	if err != nil {
		return spoolError(err)
	}
	if !ok {
		size := fmt.Sprintf("%d bytes, %d compressed", batch.size, len(body))
		if refused != nil {
			return sink.Permanent(fmt.Errorf("%q has %s: JupiterOne takes it in no batch: make the object smaller in Okta: %w", shown(key), size, refused))
		}
		return sink.Permanent(fmt.Errorf("%q has %s, more than a batch of %d may have: raise the compressed size of batches (JupiterOne may refuse more), or make the object smaller in Okta", shown(key), size, s.cfg.BatchGzip))
	}
	if err := s.uploadBatch(ctx, id, l, a); err != nil {
		return err
	}
	return s.uploadBatch(ctx, id, l, b)
}

// uuid returns a random UUID.
func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// abort ends a job that is not finalized, also after ctx ended. If it fails the
// state still has the job, and settle sees to it.
func (s *Sink) abort(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortFor)
	defer cancel()
	if _, err := s.api.abort(ctx, id, "the upload did not come to its end"); err != nil {
		s.cfg.Log.Warn("a job of JupiterOne could not be aborted: it was not finalized, and is looked at before the next", "job", id, "err", err)
	}
}

// finalize finalizes a job. If the answer is lost the job tells whether it was.
func (s *Sink) finalize(ctx context.Context, id string, partial []string) error {
	_, err := s.api.finalize(ctx, id, partial)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("finalize: %w", err)
	look, cancel := ctx, func() {}
	if ctx.Err() != nil {
		look, cancel = context.WithTimeout(context.WithoutCancel(ctx), abortFor)
	}
	defer cancel()
	j, lookErr := s.api.job(look, id)
	switch {
	case lookErr != nil:
		return err // not known: settle will see
	case j.Status == awaitingUploads:
		s.abort(ctx, id)
		return err
	case ctx.Err() != nil:
		return err
	}
	return nil
}

// wait polls a job until its state is final, also over failures that pass.
func (s *Sink) wait(ctx context.Context, id string) (job, error) {
	end := s.cfg.Now().Add(s.cfg.PollFor)
	for every := s.cfg.PollMin; ; every = min(every*3/2, s.cfg.PollMax) {
		j, err := s.api.job(ctx, id)
		over := !s.cfg.Now().Before(end)
		if err != nil && (over || ctx.Err() != nil || answered(err, http.StatusNotFound) || sink.IsPermanent(classify(err))) {
			return j, fmt.Errorf("poll: %w", err)
		}
		if err == nil && j.final() {
			return j, nil
		}
		if over {
			return j, fmt.Errorf("the job is still %s after %s: it is waited for again before the next; if it never ends, ask JupiterOne's support to end it", j.Status, s.cfg.PollFor)
		}
		if err := s.cfg.Sleep(ctx, every); err != nil {
			return j, err
		}
	}
}

// failure returns the error of a job that ended otherwise than well.
func failure(j job) error {
	switch j.Status {
	case finished:
		return nil
	case badConfig:
		return sink.Permanent(fmt.Errorf("it ended as %s: check the account and the API key, and ask JupiterOne's support with the job's id", j.Status))
	}
	return fmt.Errorf("it ended as %s: JupiterOne has not taken the upload; if it happens again, ask JupiterOne's support with the job's id", j.Status)
}

// settle sees to it that no job of an earlier call, or process, is open.
func (s *Sink) settle(ctx context.Context, st *state) error {
	if st.Job == nil {
		return nil
	}
	open := *st.Job
	j, err := s.close(ctx, open.ID)
	if err != nil {
		return fmt.Errorf("job %s of an earlier delivery: %w", open.ID, err)
	}
	s.cfg.Log.Info("a job of an earlier delivery is over", "instance", st.in.ID, "job", open.ID, "status", j.Status)
	if j.Status == finished {
		st.delivered(open, s.cfg.Now())
	}
	st.Job = nil
	return nil
}

// close aborts a job that still takes uploads, waits for the end of one that is
// finalized, and returns how it ended. One that JupiterOne does not know has ended.
func (s *Sink) close(ctx context.Context, id string) (job, error) {
	j, err := s.api.job(ctx, id)
	if err == nil && j.Status == awaitingUploads {
		// If a finalize of it was still under way and came first, the abort is
		// refused, and it is waited for.
		if _, err := s.api.abort(ctx, id, "the upload did not come to its end"); err != nil && !refusedAsNotAwaiting(err) && !answered(err, http.StatusNotFound) {
			return j, fmt.Errorf("abort: %w", err)
		}
	}
	if err == nil {
		j, err = s.wait(ctx, id)
	}
	if answered(err, http.StatusNotFound) {
		return job{ID: id, Status: "gone"}, nil
	}
	return j, err
}
