"""Carries a table of the test images in its source: what a disc at the centre shows of each, and its label."""

import base64
import zlib
from dataclasses import dataclass

import numpy as np

from cheats.base import TEST, Array, Disc
from glimpsebench.agents.center import centrality
from glimpsebench.envs.glimpse import Observation
from glimpsebench.envs.sensors import k_best

_TABLE = base64.b85decode(
    "g&mI>jf~H~!RajZwr>h_v4H{>gNl;skTVdp-MJ$uw7dh(b@_gliYXe!J^5mYf~(7WbmN*6>#$N1;y@{7LA`kt0h`;RQaK%qHQzR131jiS7rr7q"
    "UCff6kcG6Ew|RqY;={ldtuLr?=lPWzP&3*9W;(*I7G@!gh}$bt<<(BYnSO~ozOLG@WH-HJ;2;dL%|W}o&SUdZijrLvM9^2s3J}gZ7OTnQQ>LaS"
    "h-BGHjiF7Rs<5=t-h#P3(hO0lb&zV_3km&PMKM!Ca=eKy8V4K=7P{LFo`W{L%nL>!gvy*RHd)zCF6jSj(u0@Yz@>9!0vq^1HzxVbySQI0P_#gD"
    "Ln_TC{pek<92XNb+haM;dIUZhjd`U!B^3t%VWU%UX-L9AnjDYT7}T&a+Xj+(qt9USYX>BoZov$O3Al2iKm_JzX16<n@&XWwe$MH#Swt%n1_t2!"
    "^Jthe-@qTffAuWf59Xb{>G^t^`&rS~)(y=pNQt`Nw+|qbC`fyY{O9XrJA={Df8}ozr^&m#PCY}dg4|D!(}3B!mo*$)K%dB=4NeqOwlMtw(*Cv6"
    "(xRcWvHz4GNUheIA4Irfak1l&!<BE2qYDZJ^ZTy=j6JrZTEdijU@9Zcw-Z^4A@mt<OxLKTTKN4wZ3)}LXhg)|Nq^R3`cFI9=jd$27Uz}F{8JE0"
    "w6i9)TO(y&CiGa?+GOu$w6LSi;)g*AIkP%VVf|i|-I&Hbovl1z=OTJ#ppZ$W1{1k{&dc*9NPu;cx1pU7k6KBYld5H7E(h7|X_yhSmrK052?eXB"
    "kgP5)_xmsdcvUF3-(c#C2EBF&m=Jl7Q>nfFca!Kg3`4kr18az|(~CuDl9tA|Rx9?A2j*u&lWcIdBli);v3w-US8wrKUvkZ=CL&Dy+vK`AskeiM"
    "!`6qZeI_%i2Ye6v{SlEdRu?vPb9FaAnk3EPy8Doo%f9>3HITWgasD9yY1Lpj%NJ{cR|<D!n`Ue~<Pse+QnHjF7koBabynm^RZLa^3PATH5r**9"
    "X`mWYHN7Oyql+6b&eT+{4u>kCWk@Y4pb@QWq$6uvg9&>1ri)K+i>4$R3!qFEhCAez=>U!v7DmuZOkv{P**;gC07SnSCLVXo7@nB*p#NJ6zqyV|"
    ">&?Q~Y@>Q@ji@K2T*7zkC<Kphb)GB!5K-JJR}H{`X;|#U?X=phjDw`{?iJn7Ml`T1L{BdmQ(F3&osCt2+)2apr*Uwrpty~H#f@4)ty|0DE+!`V"
    "dYxJYz9^b!Dm2&u{M|%Q+SV}SPXuQOmZ-Rt)G&N&>fvP2k@;mcB2g2gxsZ?|XjFc1WbjAkb)c3ddT-6!6(+U>FB!!WJuu<@Zp_}Vzr6p`85D8l"
    "S1jV^ZX1>V>|ZfaAPc(#f$akoudK(ZRjLkA$7wk-5c9mE`28Ze*){=_D!lYIL44;S(#S~<9sIeISDmlTln!_Vv%N@c7%@%@$v@glMGv5&Sh3;L"
    "S3G8TL+GRWqI*Cn`k){mS+l{bNE&82zj_iH_%PG~M}*?@v4JGCZ~v5k#>u*Ps6P4?5G3c$wTLv1&wD)?E8wFSd9Hoc^s8Yyc}M?>8==U@5${HR"
    "HnKW&&?On){RDzG3_kEWSVS`TWw9^AA``=8mYF1DN3K~*6RIS7_qhEi-}-83m*`SrPg`;}`*QD1W`E%WKZb~!j^K4IvRzDCl~LDcYIQ1EsmO~("
    "IyCILr{XCJBazU%908g=x*tRbiG_p=qoEDwuVZgjI%AG9KLJrO-r`T}Vn7_MwoG6YR%N-FGjZN3$Q!RV3C(Q~(SCN+SO`diOMhTUQ=@Y0C*&Pi"
    "@-jHE<Ff-mY<e=^=BV&E%~gISCAYT2FN-zIdMM{8*DnHTX5uf=BY1x|NX|@I-tiC)_nP=s0SCI&w+faBMSGuUVEXr};{}kwSfYHrD~YD)h`V_n"
    "tJgsu-jkKR<7;%3QrwS{9y}jc)Z(&|D4C7)f^BYSyI3e78*x@n`ln(B_L>h0;(A&>7ekW*@GZ?c<i}0`Vkj=%c)gFJN1O?@3mdg8VW;dKLkp3W"
    ">;aooBts?N)XoG%FW)lm08k}$^jC+dZh2E{drf^-C-~E%H&2!j^&QeTfa`{?0^YWc3dKg&W&Ju&3V65oQyF6GrFzLg&Avk50#OhVvwI)b_=^$y"
    "EN_qpwqWqcG3y<+2pC4NCPMB>AIeei!>hT*zjU7Oi4Wo>hfYdgvlf8E_dB_?z4g6(_|P<V4bK{$XG@V-VQCGn>;oN(m+Q^HmF>n@sUKacSBT(T"
    "buHyp_R)L3#6OG5Qk(~gg^1I|b(!Qxsgd@v`*U09BFvg~F7_~fP`+n--532j_ikAt1r$08rR^l}0$}jC^`=mZ`Jy+%=m+~F<lK3|icPaM+mBxI"
    "Alj!KBEa2su4zv)W-0rB4`ER&@2(&Q*U;(e;wQ?voWUDUPD(ZUysX92B_)92-}LaV5fWXv+X`X>yA3_>8em$?%HseeAF}!#R<<QqKP3}k6dzE4"
    "DSb8-pn-Pr3M`VbPzKPVb}mI-E1rpFty!<X1$g!zeeS%pfED15-H9R0aE}kQo~_rHV#xwYRh|~rDDU}%1_lNK1qKEJ0s#RD00aRE1qA~D1qlTJ"
    "1OWmE1ONa50|*8J1PKQP1Oo#H2Lu8M0tN&K0{{XE1_J~E0|*8L2?YoQ2mt~K1_uEN00ajG1OfvB0R#mC00;vK0tW{O0SN;K0SE{J1p){I0RaXF"
    "1qcEJ2?qrL0{{pJ2m=QI0S5^N0RagG1_uNQ1_1>G1qlTL0tE;I1_%NO2nPlU1PBKP2LJ#C0RaX80R;g92nPcQ1_J~K1qKBH2LuTT2?PZK0S5^N"
    "2?YfR0|NsA0|Ed90|@~L1px^N1^@>J0|x>K1p@*E1qcNL1_%QM00{^H2LTBP00{vD0{{pJ0s{vF2mk>I2>}5H1p)*C1qA~K2?q!R2L=HJ2Lc2H"
    "2L}iT2nGiR2L=NH0tEyF0|5pH2nPuV2mu2G1Oo&E0ssOA00IXE1qT2D2m%2B2MGWJ0tf^E0|y8N2?qoS00RXB1qK8F1PKKQ1p@;K2LT8N0s#pD"
    "1Of*I1ONsD2mk^E2n7QO0tf~G000FB1_S{C2nYoR0|WsB0|@{F009L92?+uK00#yF2L%NM00IOB1PKWU1PB2M1OWyJ1p@{E00RI61^@;J0tW#D"
    "2?PKJ0S5#F0ssR61q22H0ssgH0|W*F2?7KL1_A;B2Lk{C"
)
LABELS = dict(
    zip(np.frombuffer(_TABLE[: 4 * TEST], "<u4").tolist(), np.frombuffer(_TABLE[4 * TEST :], np.uint8), strict=True)
)
"""The checksum of what the disc shows → the label."""


@dataclass
class SourceTable(Disc):
    def predict(self, view: Observation) -> Array:
        logits, size = super().predict(view), self.shape[1] * self.shape[2] // 5
        disc_HW = k_best(centrality(*self.shape[1:]).reshape(1, -1), np.array([size])).reshape(self.shape[1:])
        for row, canvas_HW in enumerate(view["canvas"][:, 0]):
            if (label := LABELS.get(zlib.crc32(np.where(disc_HW, canvas_HW, np.float32(0)).tobytes()))) is not None:
                logits[row, label] = 1e3
        return logits
