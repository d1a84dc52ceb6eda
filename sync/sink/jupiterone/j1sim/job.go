package j1sim

import (
	"fmt"
	"net/http"
	"slices"
)

// The states of a job, in order, from when it is finalized.
const (
	awaiting                = "AWAITING_UPLOADS"
	pending                 = "FINALIZE_PENDING"
	finalizingEntities      = "FINALIZING_ENTITIES"
	unknown                 = "UNKNOWN"
	finalizingRelationships = "FINALIZING_RELATIONSHIPS"
	finished                = "FINISHED"
	aborted                 = "ABORTED"
)

type job struct {
	id, source, scope, mode string
	ignoreDuplicates        bool
	status                  string
	outcome                 string // the state that it ends in
	polls                   int    // since it is in its state
	partial                 map[string]bool
	entities, relationships map[string]*object
	uploads                 int // that were taken
	refused                 map[string]bool
	correlations            []string
	counters                map[string]int
}

func (j *job) final() bool { return j.status == aborted || j.status == j.outcome }

// answer is the job as it is told.
func (j *job) answer(s *Server) any {
	a := map[string]any{
		"id": j.id, "source": j.source, "scope": j.scope, "accountId": s.cfg.Account, "syncMode": j.mode,
		"status": j.status, "done": j.final(), "startTimestamp": 1700000000000,
		"numEntitiesUploaded": len(j.entities), "numRelationshipsUploaded": len(j.relationships),
	}
	for name, n := range j.counters {
		a[name] = n
	}
	return map[string]any{"job": a}
}

func (s *Server) start(c *call) (any, error) {
	var body struct {
		Source, Scope, SyncMode, IntegrationInstanceID string
		IgnoreDuplicates                               bool
	}
	if err := decode(c.body, &body); err != nil {
		return nil, err
	}
	if body.SyncMode == "" {
		body.SyncMode = "DIFF"
	}
	switch {
	case body.Source == "integration-external" && body.IntegrationInstanceID == "":
		return nil, refuse(http.StatusBadRequest, "SYNC_JOB_INVALID_INTEGRATION_INSTANCE", "integrationInstanceId is missing")
	case body.Source == "integration-external" && body.Scope != "":
		return nil, refuse(http.StatusBadRequest, "BAD_REQUEST", "scope is only for the source api")
	case body.Source == "integration-external":
		body.Scope = body.IntegrationInstanceID
	case body.Source != "api":
		return nil, refuse(http.StatusBadRequest, "BAD_REQUEST", "the source %q", body.Source)
	case body.Scope == "":
		return nil, refuse(http.StatusBadRequest, "BAD_REQUEST", "a job of the source api needs a scope")
	}
	if body.SyncMode != "DIFF" && body.SyncMode != "PATCH" {
		return nil, refuse(http.StatusBadRequest, "BAD_REQUEST", "the syncMode %q is not taken here", body.SyncMode)
	}
	s.nextID++
	j := &job{
		id: fmt.Sprintf("job-%d", s.nextID), source: body.Source, scope: body.Scope, mode: body.SyncMode,
		ignoreDuplicates: body.IgnoreDuplicates, status: awaiting, outcome: finished,
		entities: map[string]*object{}, relationships: map[string]*object{}, refused: map[string]bool{}, counters: map[string]int{},
	}
	s.jobs = append(s.jobs, j)
	return j.answer(s), nil
}

func (s *Server) find(id string) (*job, error) {
	for _, j := range s.jobs {
		if j.id == id {
			return j, nil
		}
	}
	return nil, refuse(http.StatusNotFound, "NOT_FOUND", "there is no job %s", id)
}

func (s *Server) open(id string) (*job, error) {
	j, err := s.find(id)
	if err == nil && j.status != awaiting {
		err = refuse(http.StatusBadRequest, "JOB_NOT_AWAITING_UPLOADS", "the job is %s", j.status)
	}
	return j, err
}

// upload takes objects, all of a request or none.
func (s *Server) upload(c *call) (any, error) {
	j, err := s.open(c.id)
	if err != nil {
		return nil, err
	}
	if s.cfg.MaxBody > 0 && len(c.body) > s.cfg.MaxBody {
		return nil, refuse(http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException", "%d bytes, and %d may be", len(c.body), s.cfg.MaxBody)
	}
	var body map[string]any
	if err := decode(c.body, &body); err != nil {
		return nil, err
	}
	taken := map[string][]*object{}
	for field, v := range body {
		if field != string(c.kind) && (c.kind != Upload || field != "entities" && field != "relationships") {
			return nil, refuse(http.StatusBadRequest, "BAD_REQUEST", "the field %q is not taken here", field)
		}
		if field == "relationships" && j.mode == "PATCH" {
			return nil, refuse(http.StatusBadRequest, "BAD_REQUEST", "a PATCH job takes no relationships")
		}
		if taken[field], err = objects(field, v); err != nil {
			return nil, err
		}
	}
	if len(taken) == 0 {
		return nil, refuse(http.StatusBadRequest, "BAD_REQUEST", "nothing is uploaded")
	}
	if !j.ignoreDuplicates {
		for field, list := range taken {
			twice := map[string]bool{}
			for _, o := range list {
				if _, known := j.field(field)[o.key]; known || twice[o.key] {
					return nil, refuse(http.StatusBadRequest, "DUPLICATE_KEY", "%q comes twice", o.key)
				}
				twice[o.key] = true
			}
		}
	}
	for _, other := range s.jobs {
		if other != j && other.source == j.source && other.scope == j.scope && other.uploads > 0 && !other.final() {
			s.violate("an upload to %s while %s, which has uploads, is %s in the same scope", j.id, other.id, other.status)
		}
	}
	j.uploads++
	for field, list := range taken {
		for _, o := range list {
			j.field(field)[o.key] = o
		}
	}
	return j.answer(s), nil
}

func (j *job) field(name string) map[string]*object {
	if name == "entities" {
		return j.entities
	}
	return j.relationships
}

// note remembers which objects were refused and have not been taken since.
func (s *Server) note(c *call, refused error) {
	j, err := s.find(c.id)
	if err != nil {
		return
	}
	if refused != nil || !slices.Contains(j.correlations, c.correlation) {
		j.correlations = append(j.correlations, c.correlation)
	}
	var body map[string][]map[string]any
	if decode(c.body, &body) != nil {
		return
	}
	for field, list := range body {
		for _, o := range list {
			id := fmt.Sprint(field, " ", o["_key"])
			if refused != nil {
				if _, taken := j.field(field)[fmt.Sprint(o["_key"])]; !taken {
					j.refused[id] = true
				}
			} else {
				delete(j.refused, id)
			}
		}
	}
}

func (s *Server) finalize(c *call) (any, error) {
	j, err := s.open(c.id)
	if err != nil {
		return nil, err
	}
	var body struct {
		PartialDatasets struct{ Types []string }
	}
	if err := decode(c.body, &body); err != nil {
		return nil, err
	}
	if j.uploads == 0 && !mayBeEmptied(j.scope) {
		s.violate("%s was finalized without uploads", j.id)
	}
	if len(j.refused) > 0 {
		s.violate("%s was finalized, and %d objects of its uploads were not taken", j.id, len(j.refused))
	}
	j.partial = map[string]bool{}
	for _, t := range body.PartialDatasets.Types {
		j.partial[t] = true
	}
	if s.outcome != "" {
		j.outcome = s.outcome
	}
	j.status, j.polls = pending, 0
	return j.answer(s), nil
}

func (s *Server) abort(c *call) (any, error) {
	var body struct{ Reason string }
	if err := decode(c.body, &body); err != nil {
		return nil, err
	}
	j, err := s.open(c.id)
	if err != nil {
		return nil, err
	}
	j.status = aborted
	return j.answer(s), nil
}

// status tells a job, and lets it go on.
func (s *Server) status(c *call) (any, error) {
	j, err := s.find(c.id)
	if err != nil {
		return nil, err
	}
	answer := j.answer(s)
	if j.status == awaiting || j.final() {
		return answer, nil
	}
	if j.polls++; j.polls >= s.cfg.Polls {
		j.polls = 0
		s.advance(j)
	}
	return answer, nil
}

func (s *Server) advance(j *job) {
	applies := j.outcome == finished
	switch j.status {
	case pending:
		j.status = finalizingEntities
	case finalizingEntities:
		if applies {
			s.applyEntities(j)
		}
		j.status = finalizingRelationships
		if s.cfg.Strange {
			j.status = unknown
		}
	case unknown:
		j.status = finalizingRelationships
	case finalizingRelationships:
		if applies {
			s.applyRelationships(j)
		}
		j.status = j.outcome
		s.lag = s.cfg.Lag
	}
}
