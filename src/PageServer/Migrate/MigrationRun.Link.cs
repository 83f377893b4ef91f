using System.Globalization;
using System.Net;
using System.Net.Sockets;
using PostCopy.Control;
using PostCopy.Control.Messages;
using PostCopy.HandOff;
using PostCopy.Memory;
using PostCopy.Serve;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Migrate;

/// <summary>The connection to the destination, and what is done when it breaks behind the hand-off: make it anew, agree on what is owed, go on.</summary>
internal sealed partial class MigrationRun
{
    private static readonly TimeSpan FirstRetryAfter = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan LongestRetryAfter = TimeSpan.FromSeconds(5);

    /// <summary>A connection that lived this long was worth having: the next one is tried at once.</summary>
    private static readonly TimeSpan Healthy = TimeSpan.FromSeconds(10);

    /// <summary>The difference of the clocks outlives connections: what was measured best stays the best.</summary>
    private readonly ClockOffset _clock = new();

    private uint _epoch = LaneHello.FirstEpoch;
    private ulong _earlierBytes;
    private ServedPages _earlier;
    private long _connectedAt;
    private TimeSpan _retryAfter = FirstRetryAfter;

    private ulong BytesOnWire => _earlierBytes + (_lanes?.Bytes ?? 0) + (_control is { } control ? control.Lane.BytesReceived + control.Lane.BytesSent : 0);

    /// <summary>
    /// Larger than all before, those of other processes included: by the clock, and by the record should the clock have been set back. Where there is no room for the
    /// record the clock has to do.
    /// </summary>
    private void BeginEpoch()
    {
        _epoch = Math.Max(_epoch + 1, (uint)DateTimeOffset.UtcNow.ToUnixTimeSeconds());
        try
        {
            Save(_record! with { Epoch = _epoch });
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            MigrateLog.EpochNotRecorded(_logger, _session.Name, _epoch, e.Message);
        }
    }

    private async Task ConnectAsync(CancellationToken cancellation)
    {
        AgentToken token = _options.Destination.UnixPath is not null ? AgentToken.None : AgentToken.Load(_options.TokenFile);
        TlsDialling? tls = TlsDialling.For(_options.Destination, _options.Tls, _options.TlsName);
        EndPoint[] endpoints = await _options.Destination.ResolveAsync(cancellation).ConfigureAwait(false);
        await Task.Factory.StartNew(() => Connect(endpoints, token, tls), cancellation, TaskCreationOptions.LongRunning, TaskScheduler.Default).ConfigureAwait(false);
        _connectedAt = Environment.TickCount64;
    }

    private void Connect(EndPoint[] endpoints, AgentToken token, TlsDialling? tls)
    {
        _control = new ControlChannel(LaneOpening.Dial(endpoints, LaneRole.Control, _session, _epoch, token, _pool, tls: tls), "source", clock: _clock);
        SocketLane demand = LaneOpening.Dial(endpoints, LaneRole.Demand, _session, _epoch, token, _pool, _options.CongestionControl, tls: tls);
        try
        {
            _lanes = new PageLanes(demand, LaneOpening.Dial(endpoints, LaneRole.Push, _session, _epoch, token, _pool, _options.CongestionControl, tls: tls));
        }
        catch
        {
            demand.Dispose();
            throw;
        }
    }

    private void Disconnect()
    {
        EndValidation();
        _lanes?.Dispose();
        _control?.Dispose();
        _earlierBytes = BytesOnWire;
        (_lanes, _control, _nextMessage) = (null, null, null);
    }

    /// <summary>
    /// Tries for ever to connect anew, then tells and hears what may have been lost. False when the user no longer wants to wait.
    /// </summary>
    private async Task<bool> ReconnectAsync(string reason, CancellationToken leave)
    {
        long stalledSince = Environment.TickCount64;
        _progress.Stall(reason);
        TellStatus($"a connection to {_options.Destination}: {reason}");
        if (stalledSince - _connectedAt > Healthy.TotalMilliseconds)
        {
            _retryAfter = FirstRetryAfter;
        }

        while (!leave.IsCancellationRequested)
        {
            Disconnect();
            try
            {
                await Task.Delay(_retryAfter, leave).ConfigureAwait(false);
                _retryAfter = _retryAfter * 2 < LongestRetryAfter ? _retryAfter * 2 : LongestRetryAfter;
                BeginEpoch();
                await ConnectAsync(leave).ConfigureAwait(false);
                // Behind the hand-off they run, or will at once.
                _lanes!.TasksRun();
                await AgreeAsync(leave).ConfigureAwait(false);
                _errors.Add(string.Create(CultureInfo.InvariantCulture, $"the connection broke ({reason}) and was made again after {(Environment.TickCount64 - stalledSince) / 1000.0:F1} s"));
                _progress.Enter(MigrationPhase.Draining);
                TellStatus();
                return true;
            }
            catch (OperationCanceledException)
            {
                break;
            }
            catch (Exception e) when (e is IOException or SocketException)
            {
                MigrateLog.NotReconnected(_logger, _session.Name, _epoch, e.Message);
                _progress.Stall($"{reason}; last try: {e.Message}");
            }
        }

        return false;
    }

    /// <summary>The destination says what it still lacks, and from there the push begins anew. Then this side says again what it said last.</summary>
    private async Task AgreeAsync(CancellationToken cancellation)
    {
        IReadOnlyList<KeyValuePair<ImagePid, PageRange>> stillOwed = await HearOwedAsync(cancellation).ConfigureAwait(false);
        UnsentPages unsent = new(_owed);
        if (!unsent.TryRestrictTo(stillOwed))
        {
            throw new ProtocolException(WireErrorCode.ProtocolViolation, "control lane: the destination says that it is owed pages which the images do not owe it");
        }

        _earlier = Served();
        _plan = new PushPlan(unsent, PrefetchPolicies.Create(_options.Policy));
        _server = new PageServerSession(_source!, _plan, _options.Verify, _unreadable);
        _progress.PagesRemaining = unsent.Remaining;
        MigrateLog.Reconnected(_logger, _session.Name, _epoch, unsent.Remaining);
        await PerformAsync(SourceHandOff.Repeat(_state)).ConfigureAwait(false);
        _lanes!.StartDemand(_server);
        _lanes.StartPush(_server);
    }

    private async Task<IReadOnlyList<KeyValuePair<ImagePid, PageRange>>> HearOwedAsync(CancellationToken cancellation)
    {
        OwedAccount account = new(_progress.PagesTotal);
        while (true)
        {
            Owed owed = (await AwaitKindAsync("the destination's account of what it lacks", FrameKind.Owed, _options.StepDeadline, cancellation).ConfigureAwait(false)).As<Owed>();
            account.Add(owed);
            if (owed.Last)
            {
                return account.Ranges;
            }
        }
    }

    /// <summary>
    /// When all is decided: waits until the destination has said what is expected, or goodbye, or knows nothing of the session any more, connecting
    /// anew as need be. Returns why it did not come to that in time; null when it did.
    /// </summary>
    private async Task<string?> AwaitLastWordAsync(SourceState state, Func<ControlMessage, bool> isLast, TimeSpan patience)
    {
        using CancellationTokenSource deadline = new(patience);
        string reason = "no answer";
        while (true)
        {
            try
            {
                if (_control is null)
                {
                    await Task.Delay(FirstRetryAfter, deadline.Token).ConfigureAwait(false);
                    BeginEpoch();
                    await ConnectAsync(deadline.Token).ConfigureAwait(false);
                    await PerformAsync(SourceHandOff.Repeat(state)).ConfigureAwait(false);
                }

                _nextMessage ??= _control!.ReceiveAsync(CancellationToken.None).AsTask();
                await Task.WhenAny(_nextMessage).WaitAsync(deadline.Token).ConfigureAwait(false);
                (Task<ControlMessage> message, _nextMessage) = (_nextMessage, null);
                if (isLast(await message.ConfigureAwait(false)))
                {
                    return null;
                }
            }
            catch (OperationCanceledException)
            {
                return reason;
            }
            catch (ProtocolException e) when (e is { SaidByPeer: true, Code: WireErrorCode.Session })
            {
                // It does not know the session any more: it had its last word, and ours.
                return null;
            }
            catch (Exception e) when (e is IOException or SocketException)
            {
                if (_control is { PeerSaidGoodbye: true })
                {
                    return null;
                }

                reason = e.Message;
                Disconnect();
            }
        }
    }

    /// <summary>What was served over all connections so far.</summary>
    private ServedPages Served()
    {
        (ulong _, ulong demanded, ulong resent) = _plan?.Counters ?? default;
        return new ServedPages(
            _earlier.Zero + (_server?.ZeroPages ?? 0),
            _earlier.Pushed + (_server?.PushedPages ?? 0),
            _earlier.Demanded + demanded,
            _earlier.Resent + resent);
    }

    private readonly record struct ServedPages(ulong Zero, ulong Pushed, ulong Demanded, ulong Resent);
}
