"""The reference systems' networks once more, in plain numpy and float64, with variables under the references' names.

What our layers are held against where no recorded output lies: every model, pooling, head and flag that
`segsearch.training.reference.checkpoints` knows. Formulas from the papers and the public repositories; one video at a
time, without padding, so that nothing about masks can be wrong in the same way on both sides.

V video features, A audio features, K clusters, H hidden units, C classes, T frames of one video.
"""

import numpy as np

VIDEO, AUDIO, CLASSES, HIDDEN = 16, 8, 5, 6
POOLINGS = {
    "FrameLevelLogisticModel": "frame_mean",
    "DbofModel": "dbof",
    "SoftDbofModelLF": "soft_dbof",
    "GatedDbofModelLF": "gated_dbof",
    "NetVLADModelLF": "netvlad",
    "NetFVModelLF": "netfv",
    "LstmModel": "stacked_lstm",
    "Lstmbidirect": "bidirectional_lstm",
    "GruModel": "stacked_gru",
    "GRUbidirect": "bidirectional_gru",
    "NeXtVLADModel": "nextvlad",
}


class Twin:
    """A reference network with random variables; `predict` gives the scores of one video's frames (T, V + A)."""

    def __init__(self, system: str, model: str, seed: int = 0, mixtures: int = 2, **flags):
        self.system, self.model, self.flags, self.mixtures = system, model, flags, mixtures
        self.random, self.variables = np.random.default_rng(seed), {}
        self.predict(self.random.normal(size=(3, VIDEO + AUDIO)))  # makes the variables

    def predict(self, frames):
        """(T, V + A) to (C,)."""
        if self.model == "MixNeXtVladModel":
            return sigmoid(self.mix(frames)[0])
        return self.head("", getattr(self, POOLINGS[self.model])(frames))[0]

    def mix(self, frames, temperature=1.0):
        """Logits (C,), each tower's (N, C), and what the towers are apart."""
        weights = softmax(self.dense("mix_weights", self.bn("mix_weights_bn", frames.mean(0)), 3))
        branches = [f"branch_{n}/" for n in range(3)]
        logits = np.stack([self.head(branch, self.nextvlad(frames, branch, "vlad"))[1] for branch in branches])
        mixed = weights @ logits
        teacher, students = softmax(mixed / temperature), softmax(logits / temperature)
        return mixed, logits, np.sum(teacher * (np.log(teacher + 1e-8) - np.log(students + 1e-8)))

    # ---- variables ----

    def var(self, name, *shape, spread=None, mean=0.0):
        """The variable of this name, random when first asked for."""
        if name not in self.variables:
            spread = 1 / np.sqrt(shape[0]) if spread is None else spread
            self.variables[name] = self.random.normal(mean, spread, shape).astype(np.float32)
        return self.variables[name].astype(np.float64)

    def bn(self, name, x):
        width = x.shape[-1]
        gamma, beta, mean = (self.var(f"{name}/{part}", width, spread=0.3) for part in ("gamma", "beta", "moving_mean"))
        variance = np.abs(self.var(f"{name}/moving_variance", width, spread=0.2, mean=1.0))
        self.variables[f"{name}/moving_variance"] = variance.astype(np.float32)
        return gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta

    def bn_unless_bare(self, name, x, biases=None):
        """Batch norm, or what stands in its place in a network trained without: biases, or nothing."""
        if not self.flags.get("bare"):
            return self.bn(name, x)
        return x + self.var(biases, x.shape[-1], spread=0.3) if biases else x

    def dense(self, name, x, width):
        return x @ self.var(f"{name}/weights", x.shape[-1], width) + self.var(f"{name}/biases", width, spread=0.1)

    # ---- bags of frames ----

    def frame_mean(self, frames):
        return frames.mean(0)

    def dbof(self, frames):
        act = sigmoid if self.flags.get("dbof_activation") == "sigmoid" else relu6
        x = frames if self.flags.get("bare") else self.bn("input_bn", frames)
        x = x @ self.var("cluster_weights", VIDEO + AUDIO, 8)
        x = act(x + self.var("cluster_biases", 8) if self.flags.get("bare") else self.bn("cluster_bn", x))
        x = x.mean(0) if self.flags.get("dbof_pooling_method") == "average" else x.max(0)
        x = x @ self.var("hidden1_weights", 8, HIDDEN)
        return act(x + self.var("hidden1_biases", HIDDEN) if self.flags.get("bare") else self.bn("hidden1_bn", x))

    def soft_dbof(self, frames):
        parts = self.split(self.bn("input_bn", frames))
        bags = [self.soft_bag(name, parts[name], 16 // 8**n) for n, name in enumerate(parts)]
        return self.hidden(np.concatenate(bags))

    def gated_dbof(self, frames):
        parts = self.split(self.bn("input_bn", frames))
        a = self.assign("video_DBOF/", parts["video"], 16)
        gates = unit(a.max(0)) @ self.var("video_DBOF/dim_red", 16, VIDEO)
        gates = self.bn("video_DBOF/cluster_bn_2", gates @ self.var("video_DBOF/cluster_weights_2", VIDEO, 16))
        return self.hidden(np.concatenate([unit(sigmoid(gates) * a.sum(0)), self.soft_bag("audio", parts["audio"], 2)]))

    def netvlad(self, frames):
        parts = self.split(self.bn_unless_bare("input_bn", frames))
        vlads = [self.vlad(f"{name}_VLAD/", parts[name], 4 // 2**n) for n, name in enumerate(parts)]
        remove = self.flags.get("gating_remove_diag", False)
        return self.context_gating(self.hidden(np.concatenate(vlads), "netvlad_relu"), remove)

    def netfv(self, frames):
        parts = self.split(self.bn("input_bn", frames))
        vectors = [self.fisher(f"{name}_FV/", parts[name], 4 // 2**n) for n, name in enumerate(parts)]
        return self.context_gating(self.hidden(np.concatenate(vectors), "fv_relu"), False)

    def split(self, frames):
        return {"video": frames[:, :VIDEO], "audio": frames[:, VIDEO:]}

    def assign(self, scope, x, clusters):
        logits = x @ self.var(f"{scope}cluster_weights", x.shape[1], clusters)
        return softmax(self.bn_unless_bare(f"{scope}cluster_bn", logits, f"{scope}cluster_biases"))

    def soft_bag(self, name, x, clusters):
        a = self.assign(f"{name}_DBOF/", x, clusters)
        best = [unit(a.max(0))] if self.flags.get("softdbof_maxpool") else []
        return np.concatenate([unit(a.sum(0)), *best])

    def vlad(self, scope, x, clusters):
        a, vlad = self.assign(scope, x, clusters), np.zeros((x.shape[1], clusters))
        for share, frame in zip(a, x, strict=True):
            vlad += np.outer(frame, share)
        if self.flags.get("vlagd"):
            vlad = vlad * sigmoid(self.var(f"{scope}gate_weights", 1, clusters, x.shape[1])[0].T)
        elif not self.flags.get("lightvlad"):
            vlad = vlad - a.sum(0) * self.var(f"{scope}cluster_weights2", 1, x.shape[1], clusters)[0]
        return unit((vlad / np.linalg.norm(vlad, axis=0)).ravel())

    def fisher(self, scope, x, clusters):
        a = self.assign(scope, x, clusters)
        spread = self.var(f"{scope}covar_weights", x.shape[1], clusters, spread=0.2, mean=1.0) ** 2 + 1e-6
        if self.flags.get("fv_couple_weights"):
            centres = self.flags["fv_coupling_factor"] * self.var(f"{scope}cluster_weights", x.shape[1], clusters)
        else:
            centres = self.var(f"{scope}cluster_weights2", 1, x.shape[1], clusters)[0]
        apart = x[:, :, None] - centres  # (T, D, K)
        first = (a[:, None, :] * apart).sum(0) / spread
        second = (a[:, None, :] * apart**2).sum(0)
        return np.concatenate(
            [unit((first / np.linalg.norm(first, axis=0)).ravel()), unit((second / spread**2 - a.sum(0)).ravel())]
        )

    def nextvlad(self, frames, scope="", suffix="VLAD"):
        parts = self.split(frames)
        vlads = [self.grouped(f"{scope}{n}_{suffix}/", parts[n], 4 // 2**i, 4 // 2**i) for i, n in enumerate(parts)]
        x = np.concatenate(vlads)
        x = self.bn(f"{scope}hidden1_bn", x @ self.var(f"{scope}hidden1_weights", len(x), HIDDEN))
        gates = np.maximum(self.bn(f"{scope}gating_bn", x @ self.var(f"{scope}gating_weights_1", HIDDEN, 2)), 0)
        return x * sigmoid(gates @ self.var(f"{scope}gating_weights_2", 2, HIDDEN))

    def grouped(self, scope, x, clusters, groups):
        wide = self.flags["expansion"] * x.shape[1]
        x = self.dense(f"{scope}fully_connected", x, wide)
        attention = sigmoid(self.dense(f"{scope}fully_connected_1", x, groups))
        logits = self.bn(f"{scope}cluster_bn", x @ self.var(f"{scope}cluster_weights", wide, groups * clusters))
        centres, vlad = self.var(f"{scope}cluster_weights2", 1, wide // groups, clusters)[0], 0
        for t in range(len(x)):
            for g in range(groups):
                share = attention[t, g] * softmax(logits[t, g * clusters : (g + 1) * clusters])
                slice_ = x[t, g * wide // groups : (g + 1) * wide // groups]
                vlad = vlad + (slice_[:, None] - centres) * share
        return self.bn(f"{scope}vlad_bn", (vlad / np.linalg.norm(vlad, axis=0)).ravel())

    def hidden(self, x, relu="dbof_relu"):
        if self.flags.get("fc_dimred") is False:
            return x
        x = x @ self.var("hidden1_weights", len(x), HIDDEN)
        if not self.flags.get(relu):
            return x + self.var("hidden1_biases", HIDDEN)
        return relu6(self.bn_unless_bare("hidden1_bn", x, "hidden1_biases"))

    def context_gating(self, x, remove_diagonal):
        if not self.flags.get("gating"):
            return x
        kernel = self.var("gating_weights_2", HIDDEN, HIDDEN)
        gates = x @ kernel - (np.diag(kernel) * x if remove_diagonal else 0)
        return x * sigmoid(self.bn_unless_bare("gating_bn", gates, "gating_biases"))

    # ---- recurrent networks ----

    def stacked_lstm(self, frames):
        scope = "RNN/rnn" if self.system == "willow" else "rnn"
        frames = frames[::-1] if self.flags.get("lstm_backward") else frames
        frames, c1, h1 = self.lstm(f"{scope}/multi_rnn_cell/cell_0", frames, 4)
        _, c2, h2 = self.lstm(f"{scope}/multi_rnn_cell/cell_1", frames, 4)
        return np.concatenate([c1, h1, c2, h2]) if self.system == "willow" else h2

    def bidirectional_lstm(self, frames):
        ahead, *_ = self.lstm("bidirectional_rnn/fw/multi_rnn_cell/cell_0", frames, 2)
        back, *_ = self.lstm("bidirectional_rnn/bw/multi_rnn_cell/cell_0", frames[::-1], 2)
        return self.lstm("rnn/multi_rnn_cell/cell_0", np.concatenate([ahead, back[::-1]], 1), 4)[1]

    def stacked_gru(self, frames):
        frames = frames[::-1] if self.flags.get("gru_backward") else frames
        frames, h1 = self.gru("RNN/rnn/multi_rnn_cell/cell_0", frames, 4)
        return np.concatenate([h1, self.gru("RNN/rnn/multi_rnn_cell/cell_1", frames, 4)[1]])

    def bidirectional_gru(self, frames):
        ahead, _ = self.gru("bidirectional_rnn/fw/multi_rnn_cell/cell_0", frames, 2)
        back, _ = self.gru("bidirectional_rnn/bw/multi_rnn_cell/cell_0", frames[::-1], 2)
        _, x = self.gru("rnn/multi_rnn_cell/cell_0", np.concatenate([ahead, back[::-1]], 1), 4)
        if not self.flags.get("gating"):
            return x
        return x * sigmoid(x @ self.var("gating_weights_2", 4, 4) + self.var("gating_biases", 4))

    def lstm(self, scope, frames, cells):
        kernel = self.var(f"{scope}/basic_lstm_cell/kernel", frames.shape[1] + cells, 4 * cells)
        bias = self.var(f"{scope}/basic_lstm_cell/bias", 4 * cells, spread=0.3)
        c, h, seen = np.zeros(cells), np.zeros(cells), []
        for frame in frames:
            i, j, f, o = np.split(np.concatenate([frame, h]) @ kernel + bias, 4)
            c = c * sigmoid(f + 1) + sigmoid(i) * np.tanh(j)
            h = sigmoid(o) * np.tanh(c)
            seen.append(h)
        return np.array(seen), c, h

    def gru(self, scope, frames, cells):
        width, cell = frames.shape[1] + cells, f"{scope}/gru_cell"
        gates, bias = self.var(f"{cell}/gates/kernel", width, 2 * cells), self.var(f"{cell}/gates/bias", 2 * cells)
        kernel, shift = self.var(f"{cell}/candidate/kernel", width, cells), self.var(f"{cell}/candidate/bias", cells)
        h, seen = np.zeros(cells), []
        for frame in frames:
            r, u = np.split(sigmoid(np.concatenate([frame, h]) @ gates + bias), 2)
            h = u * h + (1 - u) * np.tanh(np.concatenate([frame, r * h]) @ kernel + shift)
            seen.append(h)
        return np.array(seen), h

    # ---- heads ----

    def head(self, scope, x):
        """Scores (C,), and logits (C,) of the heads that have them."""
        if self.flags.get("video_level_classifier_model") == "LogisticModel" or self.model == "FrameLevelLogisticModel":
            logits = self.dense(f"{scope}fully_connected", x, CLASSES)
            return sigmoid(logits), logits
        m = self.mixtures
        gates = self.gate_kernel(scope, len(x), CLASSES * (m + 1))
        shares = softmax((x @ gates).reshape(CLASSES, m + 1))[:, :m]
        experts = self.dense(f"{scope}experts", x, CLASSES * m).reshape(CLASSES, m)
        if self.system == "linrongc_v3":
            logits = (shares * experts).sum(1)
            return sigmoid(logits), logits
        scores = (shares * sigmoid(experts)).sum(1)
        return (self.probability_gating(scores, x) if self.flags.get("moe_prob_gating") else scores), None

    def gate_kernel(self, scope, width, columns):
        if rank := self.flags.get("moe_low_rank_gating"):
            return self.var(f"{scope}gates1/weights", width, rank) @ self.var(f"{scope}gates2/weights", rank, columns)
        return self.var(f"{scope}gates/weights", width, columns)

    def probability_gating(self, scores, x):
        source = scores if self.flags.get("moe_prob_gating_input", "prob") == "prob" else x
        kernel = self.var("gating_prob_weights", len(source), CLASSES)
        gates = source @ kernel
        if self.flags.get("gating_remove_diag"):
            gates = gates - np.diag(kernel)[:CLASSES] * scores
        return scores * sigmoid(self.bn("gating_prob_bn", gates))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def relu6(x):
    return np.clip(x, 0, 6)


def unit(x):
    return x / np.linalg.norm(x)
